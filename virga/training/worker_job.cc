#include "virga/training/worker_job.h"

#include <array>

#include <nlohmann/json.hpp>

#include "virga/base/error.h"

namespace virga {
namespace {

using nlohmann::json;

constexpr int kVersion = 5;

// Enumerators by number: both ends are one build (the version says so).
template <typename T>
json number(T value) {
  return static_cast<unsigned>(value);
}
template <typename T>
T enumerator(const json& value, T last) {
  const auto n = value.get<unsigned>();
  if (n > static_cast<unsigned>(last)) throw Error(ErrorKind::kCorrupt, "an unknown kind");
  return static_cast<T>(n);
}

json model_json(const ModelSpec& spec) {
  return {{"kind", number(spec.kind)},  {"features", spec.features},
          {"classes", spec.classes},    {"dense", spec.dense},
          {"fit_bias", spec.fit_bias},  {"class_weights", spec.class_weights},
          {"clusters", spec.clusters},  {"covariance", number(spec.covariance)},
          {"reg_covar", spec.reg_covar}};
}
ModelSpec model_of(const json& j) {
  return {.kind = enumerator(j.at("kind"), ModelKind::kGaussianMixture),
          .features = j.at("features"),
          .classes = j.at("classes"),
          .dense = j.at("dense"),
          .fit_bias = j.at("fit_bias"),
          .class_weights = j.at("class_weights").get<std::vector<float>>(),
          .clusters = j.at("clusters"),
          .covariance = enumerator(j.at("covariance"), CovarianceKind::kFull),
          .reg_covar = j.at("reg_covar")};
}

json rule_json(const UpdateRuleOptions& o) {
  return {{"kind", number(o.kind)},
          {"learning_rate", o.learning_rate},
          {"l1", o.l1},
          {"l2", o.l2},
          {"momentum", o.momentum},
          {"beta1", o.beta1},
          {"beta2", o.beta2},
          {"epsilon", o.epsilon},
          {"initial_accumulator", o.initial_accumulator}};
}
UpdateRuleOptions rule_of(const json& j) {
  return {.kind = enumerator(j.at("kind"), RuleKind::kAdam),
          .learning_rate = j.at("learning_rate"),
          .l1 = j.at("l1"),
          .l2 = j.at("l2"),
          .momentum = j.at("momentum"),
          .beta1 = j.at("beta1"),
          .beta2 = j.at("beta2"),
          .epsilon = j.at("epsilon"),
          .initial_accumulator = j.at("initial_accumulator")};
}

json algorithm_json(const AlgorithmPlan& a) {
  return {{"kind", number(a.kind)},
          {"every", a.every},
          {"passes", a.passes},
          {"rho", a.rho},
          {"tolerance", a.tolerance},
          {"seed", a.seed},
          {"protocol", number(a.protocol)},
          {"staleness", a.staleness}};
}
AlgorithmPlan algorithm_of(const json& j) {
  return {.kind = enumerator(j.at("kind"), AlgorithmKind::kExpectationMaximisation),
          .every = j.at("every"),
          .passes = j.at("passes"),
          .rho = j.at("rho"),
          .tolerance = j.at("tolerance"),
          .seed = j.at("seed"),
          .protocol = enumerator(j.at("protocol"), ProtocolKind::kAsp),
          .staleness = j.at("staleness")};
}

json plan_json(const TrainingPlan& p) {
  return {{"model", model_json(p.model)},
          {"algorithm", algorithm_json(p.algorithm)},
          {"rule", rule_json(p.rule)},
          {"schedule", number(p.schedule)},
          {"forget", p.forget},
          {"workers", p.workers},
          {"batch_size", p.batch_size},
          {"epochs", p.epochs},
          {"learning_rate", p.learning_rate ? json(*p.learning_rate) : json(nullptr)},
          {"mean_weight", p.mean_weight},
          {"constant_loss", p.constant_loss},
          {"start_loss", p.start_loss},
          {"label_mean", p.label_mean},
          {"label_scale", p.label_scale}};
}
TrainingPlan plan_of(const json& j) {
  TrainingPlan p;
  p.model = model_of(j.at("model"));
  p.algorithm = algorithm_of(j.at("algorithm"));
  p.rule = rule_of(j.at("rule"));
  p.schedule = enumerator(j.at("schedule"), ScheduleKind::kStep);
  p.forget = j.at("forget");
  p.workers = j.at("workers");
  p.batch_size = j.at("batch_size");
  p.epochs = j.at("epochs");
  if (!j.at("learning_rate").is_null()) p.learning_rate = j.at("learning_rate").get<double>();
  p.mean_weight = j.at("mean_weight");
  p.constant_loss = j.at("constant_loss");
  p.start_loss = j.at("start_loss");
  p.label_mean = j.at("label_mean");
  p.label_scale = j.at("label_scale");
  return p;
}

}  // namespace

std::string encode_worker_job(const WorkerJob& job) {
  const json j = {{"version", kVersion},
                  {"run", job.run},
                  {"data", job.data},
                  {"data_checksum", job.data_checksum},
                  {"channel", job.channel},
                  {"emulate", job.emulate ? json(*job.emulate) : json(nullptr)},
                  {"faults", job.faults},
                  {"pattern", number(job.pattern)},
                  {"pieces", job.pieces},
                  {"plan", plan_json(job.plan)},
                  {"seed", job.seed},
                  {"has_start", job.has_start},
                  {"validation", job.validation ? json(*job.validation) : json(nullptr)},
                  {"validates", job.validates},
                  {"rounds_per_invocation", job.rounds_per_invocation},
                  {"checkpoint_interval_ms", job.checkpoint_interval.count()},
                  {"patience_ms", job.patience.count()},
                  {"orphan_timeout_ms", job.orphan_timeout.count()},
                  {"memory_bytes", job.memory_bytes},
                  {"cache_bytes", job.cache_bytes}};
  try {
    return j.dump();
  } catch (const json::exception&) {
    throw Error(ErrorKind::kUnsupported, "a path of a run on functions is not valid UTF-8");
  }
}

WorkerJob decode_worker_job(std::string_view text) {
  try {
    const auto j = json::parse(text);
    if (j.at("version") != kVersion) {
      throw Error(ErrorKind::kCorrupt, "the job of a run has another version than this program writes",
                  "use one build of Virga for the driver and its functions");
    }
    WorkerJob job;
    job.run = j.at("run");
    job.data = j.at("data");
    job.data_checksum = j.at("data_checksum");
    job.channel = j.at("channel");
    if (!j.at("emulate").is_null()) job.emulate = j.at("emulate").get<std::string>();
    job.faults = j.at("faults").get<std::vector<std::string>>();
    job.pattern = enumerator(j.at("pattern"), Pattern::kPipelined);
    job.pieces = j.at("pieces");
    if (job.pieces == 0 || job.pieces > AllReduce::kMostPieces) throw Error(ErrorKind::kCorrupt, "ranges of no pieces");
    job.plan = plan_of(j.at("plan"));
    job.seed = j.at("seed");
    job.has_start = j.at("has_start");
    if (!j.at("validation").is_null()) job.validation = j.at("validation").get<std::string>();
    job.validates = j.at("validates");
    job.rounds_per_invocation = j.at("rounds_per_invocation");
    job.checkpoint_interval = std::chrono::milliseconds(j.at("checkpoint_interval_ms").get<std::int64_t>());
    job.patience = std::chrono::milliseconds(j.at("patience_ms").get<std::int64_t>());
    job.orphan_timeout = std::chrono::milliseconds(j.at("orphan_timeout_ms").get<std::int64_t>());
    job.memory_bytes = j.at("memory_bytes");
    job.cache_bytes = j.at("cache_bytes");
    return job;
  } catch (const json::exception& error) {
    throw Error(ErrorKind::kCorrupt, std::string("the job of a run cannot be read: ") + error.what());
  }
}

}  // namespace virga
