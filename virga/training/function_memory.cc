#include "virga/training/function_memory.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/units.h"
#include "virga/collective/retiring.h"
#include "virga/model/expectation.h"
#include "virga/optimizer/packed_rows.h"

namespace virga {
namespace {

constexpr std::uint64_t kMebi = std::uint64_t{1} << 20;
/// A function that has done nothing yet: program, libraries, stacks, what malloc takes ahead. Measured: 6 MiB.
constexpr std::uint64_t kProgramBytes = 12 * kMebi;
constexpr std::uint64_t kRunBytes = kMebi;  // encoded groups that GroupCache reads at once
constexpr std::uint64_t kMostPrefetchBytes = 8 * kMebi;
/// Evaluations read each group once: no more than the runs that are read at once.
constexpr std::uint64_t kMostEvaluationCacheBytes = 64 * kMebi;
constexpr std::uint64_t kLeastCachedGroups = 4;
/// malloc keeps what is freed in pieces that the next group may not fit: this share of the rest is left to it.
constexpr std::uint64_t kHeapShare = 5;

/// The groups of a split as they are decoded, and what goes with each.
struct GroupSizes {
  double entries_per_row = 0;  // an average
  std::uint64_t rows = 0;      // of a group
  std::uint64_t keys = 0;      // of its dictionary, at most
  std::uint64_t bytes = 0;     // of the largest
  std::uint64_t encoded = 0;   // of the largest
  std::uint64_t count = 0;
};

GroupSizes sizes_of(const Manifest& manifest, SplitName name) {
  const auto& split = split_of(manifest, name);
  const auto& encoding = manifest.encoding;
  GroupSizes sizes;
  std::uint64_t encoded = 0;
  for (const auto& block : split.blocks) {
    for (const auto bytes : block.group_bytes) {
      encoded += bytes;
      sizes.encoded = std::max<std::uint64_t>(sizes.encoded, bytes);
    }
    sizes.count += block.group_bytes.size();
  }
  if (split.rows == 0 || encoded == 0) return sizes;
  // Rows lie in random order, so groups are much alike; how much, their encoded sizes say.
  const double largest =
      static_cast<double>(sizes.encoded) * static_cast<double>(sizes.count) / static_cast<double>(encoded);
  sizes.entries_per_row =
      encoding.dense ? encoding.features : static_cast<double>(split.nonzeros) / static_cast<double>(split.rows);
  sizes.rows = std::min<std::uint64_t>(manifest.rows_per_group, split.rows);
  const auto entries = static_cast<std::uint64_t>(
      std::ceil(sizes.entries_per_row * static_cast<double>(sizes.rows) * (encoding.dense ? 1 : largest)));
  sizes.keys = std::min<std::uint64_t>(entries, encoding.features);
  const auto index = sizes.keys > 65536 ? sizeof(std::uint32_t) : sizeof(std::uint16_t);
  const auto entry = encoding.dense ? sizeof(float) : sizeof(float) + index;
  const auto of_row = 3 * sizeof(float);  // label, weight, where it begins
  sizes.bytes = entries * entry + sizes.rows * of_row + (encoding.dense ? 0 : sizes.keys * sizeof(std::uint32_t));
  return sizes;
}

/// The description of a set: its groups and columns, once as text and JSON values, once for good.
std::uint64_t manifest_bytes(const Manifest& manifest) {
  constexpr std::uint64_t kGroup = 64, kFeature = 32;
  std::uint64_t groups = 0;
  for (const auto* split : {&manifest.train, &manifest.validation, &manifest.test}) {
    for (const auto& block : split->blocks) groups += block.group_bytes.size();
  }
  const auto& encoding = manifest.encoding;
  const auto described = std::max({encoding.feature_names.size(), encoding.scale_factor.size(),
                                   encoding.scale_offset.size(), manifest.key_quantiles.size()});
  std::uint64_t names = 0;
  for (const auto& name : encoding.feature_names) names += name.size();
  for (const auto& column : encoding.columns) {
    for (const auto& level : column.levels) names += level.size() + kFeature;
  }
  return kGroup * groups + kFeature * described + 3 * names;
}

struct ModelSizes {
  std::uint64_t parameters = 0;  // bytes
  std::uint64_t replica = 0;     // with the rule's state, as it lies in memory
  std::uint64_t file = 0;        // the same in a checkpoint
  std::uint64_t states = 0;      // of the rule, for each parameter
};

ModelSizes sizes_of(const TrainingPlan& plan) {
  const auto kind = plan.rule.kind;
  const std::uint64_t states = kind == RuleKind::kSgd ? 0 : kind == RuleKind::kAdam ? 2 : 1;
  ModelSizes sizes{.states = states};
  for (const auto& table : layout_of(plan.model)) {
    sizes.parameters += table.size() * sizeof(float);
    sizes.replica += table.rows * PackedRows::stride_of(table.width, states, true) * sizeof(float);
    sizes.file += table.rows * ((1 + states) * table.width + 1) * sizeof(float);
  }
  return sizes;
}

/// Tables of a round with `keys` keys in the sparse ones.
std::uint64_t contribution_bytes(const ModelSpec& model, std::uint64_t keys) {
  std::uint64_t bytes = 0;
  for (const auto& table : layout_of(model)) {
    bytes += table.sparse ? std::min<std::uint64_t>(keys, table.rows) * (table.width + 1) : table.size();
  }
  return bytes * sizeof(float);
}

/// Floats of scratch memory for each key and row; clusters have doubles, mixtures two for each key.
std::uint64_t scratch_width(const ModelSpec& model) {
  constexpr std::uint64_t kPadding = 16;
  const std::uint64_t outputs = virga::outputs_of(model);
  const auto padded = outputs == 1 ? 1 : (outputs + kPadding - 1) / kPadding * kPadding;
  return model.kind == ModelKind::kGaussianMixture ? 4 * padded : has_clusters(model.kind) ? 2 * padded : padded;
}

/// Clusters: centres as the kernels want them, and their sums, in doubles.
std::uint64_t centre_bytes(const ModelSpec& model) {
  if (!has_clusters(model.kind)) return 0;
  constexpr std::uint64_t kPadding = 16, kPanelRows = 32;
  const std::uint64_t features = model.features;
  const auto padded = (features + kPadding - 1) / kPadding * kPadding;
  if (model.kind == ModelKind::kGaussianMixture) {
    if (!model.dense) return std::uint64_t{kPanelRows} * (model.clusters + kPadding) * sizeof(double);
    const auto panels = kPanelRows * (4 * padded + std::uint64_t{2} * model.clusters);
    const auto of_component = model.covariance == CovarianceKind::kFull
                                  ? 2 * padded + features * (features + 1) / 2 + features * padded
                                  : 4 * padded;
    // A triangle is inverted from a copy of it.
    return (panels + model.clusters * of_component + features * (features + 1) / 2) * sizeof(double);
  }
  return model.dense ? padded * model.clusters * (2 * sizeof(double) + sizeof(float)) : 0;
}

/// Of the tables that ranks add up in expectation maximisation, with `keys` rows in the sparse ones.
std::uint64_t statistics_bytes(const ModelSpec& model, std::uint64_t keys) {
  std::uint64_t bytes = 0;
  for (const auto& table : statistics_layout(model)) {
    const auto rows = table.sparse ? std::min<std::uint64_t>(keys, table.rows) : table.rows;
    bytes += rows * (table.width * sizeof(double) + sizeof(std::uint32_t));
  }
  return bytes;
}

/// What a group takes while it is read: its encoded run, twice itself, and the model's scratch memory.
std::uint64_t reading_bytes(const GroupSizes& groups, const ModelSpec& model) {
  const auto scratch = (2 * groups.keys + groups.rows) * scratch_width(model) * sizeof(float);
  return 2 * std::max(kRunBytes, groups.encoded) + 2 * groups.bytes + scratch + centre_bytes(model);
}

FunctionMemory divide(std::uint64_t limit, std::uint64_t needed, std::uint64_t least_rest, std::string_view who,
                      std::string_view parts) {
  const auto enough = needed + least_rest + least_rest / (kHeapShare - 1);
  if (limit < enough) {
    constexpr std::uint64_t kMegabyte = 1'000'000;
    throw Error(ErrorKind::kTooLarge,
                fmt::format("a function of {} is too small: {} may take {} ({})", format_bytes(limit), who,
                            format_bytes(enough), parts),
                fmt::format("--memory {}MB is enough", (enough + kMegabyte - 1) / kMegabyte));
  }
  const auto rest = limit - needed;
  const auto rows = rest - rest / kHeapShare;
  const auto prefetch = std::min(kMostPrefetchBytes, rows / 4);
  return {.needed_bytes = needed, .cache_bytes = rows - prefetch, .prefetch_bytes = prefetch};
}

}  // namespace

FunctionMemory worker_memory(const TrainingPlan& plan, Pattern pattern, const Manifest& manifest,
                             std::uint64_t limit_bytes, bool keeps_messages) {
  const auto groups = sizes_of(manifest, SplitName::kTrain);
  const auto model = sizes_of(plan);
  const std::uint64_t workers = std::max(1U, plan.workers);

  // At the largest, a checkpoint: the replica, a copy of its tables, and those as bytes. With it what an algorithm of
  // workers that step by themselves keeps: the last mean and its states, or z and u (and which rows were touched); or
  // statistics.
  const auto kind = plan.algorithm.kind;
  const bool em = kind == AlgorithmKind::kExpectationMaximisation;
  const std::uint64_t all_keys = manifest.encoding.features;  // that may be touched in a period
  const auto kept = em                                       ? 2 * statistics_bytes(plan.model, all_keys)
                    : kind == AlgorithmKind::kModelAveraging ? model.replica
                    : kind == AlgorithmKind::kAdmm           ? 3 * model.parameters
                                                             : 0;
  // With SSP a replica of what is ahead; with ASP the whole model as it travels, and the numbers of its rows.
  const auto protocol = plan.algorithm.protocol;
  const auto apart = protocol == ProtocolKind::kSsp   ? model.replica
                     : protocol == ProtocolKind::kAsp ? (4 + model.states) * model.parameters
                                                      : 0;
  const auto state = model.replica + 2 * model.file + (kind == AlgorithmKind::kAdmm ? 3 : 1) * kept + apart;

  // A mini-batch may begin and end within a group. One is computed on, one is being made, one is ready beyond what may
  // be.
  const auto batch = std::min<std::uint64_t>(plan.batch_size, manifest.train.rows);
  const auto rows = (batch + workers - 1) / workers;
  const auto groups_of_batch = groups.rows == 0 ? 0 : (rows + groups.rows - 1) / groups.rows + 1;
  const auto entries = static_cast<std::uint64_t>(groups.entries_per_row * static_cast<double>(rows));
  const auto keys = std::min<std::uint64_t>(entries + groups.keys, manifest.encoding.features);
  const auto batches = 3 * (groups_of_batch * (groups.bytes + 2 * groups.keys * sizeof(std::uint32_t)) +
                            keys * sizeof(std::uint32_t) + rows * scratch_width(plan.model) * sizeof(float));

  // Parameters read, gradient, its bytes, mean; then what comes from others, and sums.
  const bool alone = kind != AlgorithmKind::kGradientAveraging;
  const std::uint64_t summed = kind == AlgorithmKind::kModelAveraging ? 1 + model.states : 1;
  const auto own = em ? statistics_bytes(plan.model, all_keys) + statistics_bytes(plan.model, keys)
                      : summed * contribution_bytes(plan.model, alone ? all_keys : keys);
  const auto sum = em ? statistics_bytes(plan.model, all_keys)
                      : summed * contribution_bytes(plan.model, alone ? all_keys : keys * workers);
  const bool in_ranges = pattern == Pattern::kScatterReduce || pattern == Pattern::kPipelined;
  const auto received = workers == 1 ? 0 : in_ranges ? own : workers * own;
  // Where workers keep messages: what has come in the last two rounds and is coming in this one, what each of the
  // others retires later (see AllReduce), and a copy of what is put.
  const auto unretired = std::min(kMostUnretiredBytes, kMostUnretiredRounds * (own + sum));
  const auto mail = keeps_messages && workers > 1 ? 3 * (received + sum) + (workers - 1) * unretired + own + sum : 0;
  // With SSP all contributions of the rounds that may be open, and their sums; with ASP nothing but the gradient.
  const std::uint64_t open_rounds = std::uint64_t{1} + plan.algorithm.staleness;
  const auto exchange = protocol == ProtocolKind::kAsp   ? 4 * own
                        : protocol == ProtocolKind::kSsp ? 4 * own + open_rounds * (workers * own + 3 * sum)
                                                         : 4 * own + received + (workers == 1 ? 0 : 3 * sum) + mail;

  const auto base = kProgramBytes + manifest_bytes(manifest) + reading_bytes(groups, plan.model);
  return divide(limit_bytes, base + state + exchange + batches, kLeastCachedGroups * groups.bytes,
                "a worker of this job",
                fmt::format("parameters and state {}, a round {}, mini-batches {}", format_bytes(state),
                            format_bytes(exchange), format_bytes(batches)));
}

std::uint64_t one_pass_cache_bytes(const TrainingPlan& plan, const Manifest& manifest) {
  const auto groups = sizes_of(manifest, SplitName::kTrain);
  if (groups.rows == 0 || (plan.workers == 1 && plan.batch_size % groups.rows == 0)) return 0;
  // Those of a round, when the one at its end has been used by the next; those of that one, before this one comes to
  // its end; and two that are being read.
  return (2 * ((plan.batch_size + groups.rows - 1) / groups.rows) + 2) * groups.bytes;
}

FunctionMemory evaluation_memory(const TrainingPlan& plan, const Manifest& manifest, SplitName split,
                                 std::uint64_t limit_bytes) {
  const auto groups = sizes_of(manifest, split);
  const auto state = 2 * sizes_of(plan).parameters;  // the snapshot and its bytes
  const auto losses = groups.count * sizeof(LossSums);
  const auto base = kProgramBytes + manifest_bytes(manifest) + reading_bytes(groups, plan.model) + losses;
  auto memory = divide(limit_bytes, base + state, kLeastCachedGroups * groups.bytes, "an evaluation of this job",
                       fmt::format("parameters {}", format_bytes(state)));
  memory.cache_bytes = std::min(memory.cache_bytes, kMostEvaluationCacheBytes);
  return memory;
}

}  // namespace virga
