#include "virga/job/options.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/channel/direct_channel.h"
#include "virga/channel/dynamo_place.h"
#include "virga/channel/emulated_channel.h"
#include "virga/channel/memcached_client.h"
#include "virga/channel/redis_place.h"
#include "virga/cost/price_table.h"
#include "virga/net/address.h"
#include "virga/storage/object_uri.h"
#include "virga/storage/s3_place.h"

namespace virga {
namespace {

// How a Value becomes a member of Job. The reader has checked type and range.
const std::string& text(const Value& value) { return std::get<std::string>(value); }
double number(const Value& value) { return std::get<double>(value); }
std::uint32_t small_integer(const Value& value) { return static_cast<std::uint32_t>(std::get<std::uint64_t>(value)); }
const std::vector<std::string>& list(const Value& value) { return std::get<std::vector<std::string>>(value); }
template <typename T>
std::optional<T> maybe(const Value& value) {
  if (const auto* said = std::get_if<T>(&value)) return *said;
  return std::nullopt;
}

void store_class_weight(Job& job, const Value& value) {
  job.model.class_weight_balanced = std::holds_alternative<std::string>(value);
  const auto* weights = std::get_if<std::map<std::string, double>>(&value);
  job.model.class_weight = weights != nullptr ? *weights : std::map<std::string, double>();
}

/// Functions and later drivers may be elsewhere.
void check_store_address(std::string_view text) {
  const auto address = parse_address(text);
  if (address.kind == Address::Kind::kUnix && !address.path.starts_with('/')) {
    throw Error(ErrorKind::kUsage, "the path of the socket is a relative one", "write the whole path, from / on");
  }
}

void check_redis_address(std::string_view rest) {
  const auto place = parse_redis_uri("redis:" + std::string(rest));
  if (place.address.kind == Address::Kind::kUnix) check_store_address(to_string(place.address));
}
void check_memcached_address(std::string_view rest) {
  const auto address = parse_memcached_uri("memcached:" + std::string(rest));
  if (address.kind == Address::Kind::kUnix) check_store_address(to_string(address));
}
/// Region and endpoint may be in the environment, which is not looked at here.
void check_dynamo_table(std::string_view rest) {
  static_cast<void>(parse_dynamo_uri("dynamodb:" + std::string(rest), [](const std::string& name) {
    if (name == "AWS_REGION") return std::optional<std::string>("us-east-1");
    if (name == "AWS_ENDPOINT_URL_DYNAMODB") return std::optional<std::string>("https://localhost");
    return std::optional<std::string>();
  }));
}
/// As check_dynamo_table().
void check_s3_place(std::string_view rest) {
  static_cast<void>(parse_s3_uri("s3:" + std::string(rest), [](const std::string& name) {
    if (name == "AWS_REGION") return std::optional<std::string>("us-east-1");
    if (name == "AWS_ENDPOINT_URL_S3") return std::optional<std::string>("https://localhost");
    return std::optional<std::string>();
  }));
}
/// As check_s3_place(); what functions share lies below it.
void check_run_place(std::string_view rest) {
  check_s3_place(uri_within("s3:" + std::string(rest), "functions").substr(3));
}
void check_direct_host(std::string_view rest) { static_cast<void>(direct_host("direct:" + std::string(rest))); }
void check_redis_tls_address(std::string_view rest) {
  static_cast<void>(parse_redis_uri("rediss:" + std::string(rest)));
}

constexpr Range kPositive{.min = 0, .max = 1e15, .above_min = true};
constexpr Range kCount{.min = 1, .max = 4294967295.0};
constexpr Range kDecay{.min = 0, .max = 1, .below_max = true};
constexpr std::string_view kOnlySingle = "engines \"local\", \"single\", \"process\" and \"vm\" work";

std::vector<Option> data_options() {
  return {
      {.section = "data",
       .key = "train",
       .type = OptionType::kPath,
       .placeholder = "DATA",
       .help = "Training data: an imported set or a raw file",
       .more =
           "A raw file (LIBSVM, CSV/TSV, IDX images) is imported on the fly and the result is kept for the next run. "
           "On the command line it is the first argument and needs no flag.",
       .example = "\"train.csv\"",
       .store = [](Job& job, const Value& v) { job.data.train = maybe<std::string>(v).value_or(""); }},
      {.section = "data",
       .key = "validation",
       .type = OptionType::kPath,
       .placeholder = "DATA",
       .help = "Validation data, in place of a part of the training data",
       .more = "The validation loss decides which epoch's model is kept and when to stop.",
       .example = "\"validation.csv\"",
       .store = [](Job& job, const Value& v) { job.data.validation = maybe<std::string>(v); }},
      {.section = "data",
       .key = "test",
       .type = OptionType::kPath,
       .placeholder = "DATA",
       .help = "Test data, evaluated once at the end",
       .example = "\"test.csv\"",
       .store = [](Job& job, const Value& v) { job.data.test = maybe<std::string>(v); }},
      {.section = "data",
       .key = "validation_fraction",
       .type = OptionType::kNumber,
       .fallback = "0.1",
       .placeholder = "FRACTION",
       .range = {.min = 0, .max = 1, .below_max = true},
       .help = "Part of a raw file that is held out for validation",
       .more =
           "Rows are drawn by the seed. 0 holds out nothing: every epoch is run and the last model is kept. Without "
           "effect for an imported set, which has been split already, and where validation data are given.",
       .store = [](Job& job, const Value& v) { job.data.validation_fraction = number(v); }},
      {.section = "data",
       .key = "label",
       .placeholder = "COLUMN",
       .help = "Label column of a CSV file, by name",
       .more = "Without it, a column called label, target, class or y is taken.",
       .example = "\"clicked\"",
       .store = [](Job& job, const Value& v) { job.data.label = maybe<std::string>(v); }},
      {.section = "data",
       .key = "weight",
       .placeholder = "COLUMN",
       .help = "Column of sample weights of a CSV file, by name",
       .example = "\"weight\"",
       .store = [](Job& job, const Value& v) { job.data.weight = maybe<std::string>(v); }},
      {.section = "data",
       .key = "numeric",
       .type = OptionType::kTextList,
       .placeholder = "COLUMNS",
       .help = "CSV columns to read as numbers, whatever they look like",
       .example = "[\"age\"]",
       .store = [](Job& job, const Value& v) { job.data.numeric = list(v); }},
      {.section = "data",
       .key = "categorical",
       .type = OptionType::kTextList,
       .placeholder = "COLUMNS",
       .help = "CSV columns to read as categories, even if they hold numbers",
       .example = "[\"zip_code\"]",
       .store = [](Job& job, const Value& v) { job.data.categorical = list(v); }},
      {.section = "data",
       .key = "ignore",
       .type = OptionType::kTextList,
       .placeholder = "COLUMNS",
       .help = "CSV columns to leave out",
       .example = "[\"id\"]",
       .store = [](Job& job, const Value& v) { job.data.ignore = list(v); }},
      {.section = "data",
       .key = "scale",
       .type = OptionType::kChoice,
       .fallback = "auto",
       .placeholder = "HOW",
       .choices = {{"auto", "maxabs for sparse data, 1/255 for images, standard for dense data"},
                   {"none", "leave values as they are"},
                   {"maxabs", "divide by the largest magnitude; zero stays zero"},
                   {"standard", "mean 0, standard deviation 1"}},
       .help = "How features are scaled",
       .more = "Statistics come from the training rows alone and travel with the model.",
       .store = [](Job& job, const Value& v) { job.data.scale = text(v); }},
      {.section = "data",
       .key = "missing",
       .type = OptionType::kChoice,
       .fallback = "indicator",
       .placeholder = "HOW",
       .choices = {{"indicator", "a feature of its own says that the value is missing"},
                   {"mean", "the training rows' mean"},
                   {"zero", "0"},
                   {"error", "refuse the file, naming line and column"}},
       .help = "What stands for a missing value of a CSV file",
       .store = [](Job& job, const Value& v) { job.data.missing = text(v); }},
  };
}

std::vector<Option> model_options() {
  return {
      {.section = "model",
       .key = "kind",
       .type = OptionType::kChoice,
       .fallback = "auto",
       .flag = "model",
       .placeholder = "KIND",
       .choices = {{"auto", "logistic for two classes, softmax for more, least-squares for numbers"},
                   {"logistic", "logistic regression, two classes"},
                   {"svm", "linear support vector machine, hinge loss, two classes"},
                   {"svm-squared", "linear support vector machine, squared hinge loss, two classes"},
                   {"softmax", "softmax (multinomial logistic) regression, several classes"},
                   {"least-squares", "linear regression"},
                   {"kmeans", "k-means clustering; labels are not looked at"},
                   {"gaussian-mixture", "mixture of Gaussians; labels are not looked at"}},
       .help = "What to train",
       .store = [](Job& job, const Value& v) { job.model.kind = text(v); }},
      {.section = "model",
       .key = "l1",
       .type = OptionType::kNumber,
       .fallback = "0",
       .placeholder = "STRENGTH",
       .range = {.min = 0, .max = 1e15},
       .help = "L1 penalty: adds l1 |w| to the mean loss",
       .more = "Makes weights exactly zero. The bias is not penalised.",
       .store = [](Job& job, const Value& v) { job.model.l1 = number(v); }},
      {.section = "model",
       .key = "l2",
       .type = OptionType::kNumber,
       .fallback = "1e-5",
       .placeholder = "STRENGTH",
       .range = {.min = 0, .max = 1e15},
       .help = "L2 penalty: adds (l2 / 2) |w|^2 to the mean loss",
       .more = "The bias is not penalised. scikit-learn's alpha is the same figure; its C is 1 / (l2 * rows).",
       .store = [](Job& job, const Value& v) { job.model.l2 = number(v); }},
      {.section = "model",
       .key = "fit_bias",
       .type = OptionType::kBoolean,
       .fallback = "true",
       .help = "Train a bias (intercept)",
       .store = [](Job& job, const Value& v) { job.model.fit_bias = std::get<bool>(v); }},
      {.section = "model",
       .key = "class_weight",
       .type = OptionType::kClassWeight,
       .fallback = "none",
       .placeholder = "WEIGHTS",
       .range = {.min = 0},
       .help = "Weight of each class: none, balanced, or class = weight",
       .more =
           "`\"balanced\"` gives each class the same total weight. A table names classes as they stand in the data; "
           "those that it lacks weigh 1.",
       .example = "{ \"0\" = 1, \"1\" = 2.5 }",
       .store = store_class_weight},
      {.section = "model",
       .key = "init",
       .type = OptionType::kPath,
       .flag = "init-model",
       .placeholder = "FILE",
       .help = "Model file to start from",
       .more = "It must be of the same kind, classes and columns; where features are scaled otherwise, its weights are "
               "converted.",
       .example = "\"yesterday.safetensors\"",
       .store = [](Job& job, const Value& v) { job.model.init = maybe<std::string>(v); }},
      {.section = "model",
       .key = "clusters",
       .type = OptionType::kInteger,
       .fallback = "auto",
       .placeholder = "K",
       .range = {.min = 1, .max = 1048576.0},
       .help = "k-means, mixtures: number of clusters (components); auto is 8",
       .example = "10",
       .store =
           [](Job& job, const Value& v) {
             const auto said = maybe<std::uint64_t>(v);
             job.model.clusters = said ? std::optional(static_cast<std::uint32_t>(*said)) : std::nullopt;
           }},
      {.section = "model",
       .key = "seeding",
       .type = OptionType::kChoice,
       .fallback = "k-means-parallel",
       .placeholder = "HOW",
       .choices = {{"k-means-parallel", "far from each other, by k-means-parallel (Bahmani and others, 2012)"},
                   {"random", "any rows"}},
       .help = "k-means, mixtures: which rows are the first centres",
       .more =
           "They are chosen by the seed from a sample of the training rows, before the first epoch. A mixture begins "
           "with the means of the rows that are nearest to each.",
       .store = [](Job& job, const Value& v) { job.model.seeding = text(v); }},
      {.section = "model",
       .key = "covariance",
       .type = OptionType::kChoice,
       .fallback = "diagonal",
       .placeholder = "KIND",
       .choices = {{"diagonal", "a variance for each feature of each component"},
                   {"full", "all covariances of each component; dense rows only"}},
       .help = "Mixtures: which covariances the components have",
       .store = [](Job& job, const Value& v) { job.model.covariance = text(v); }},
      {.section = "model",
       .key = "reg_covar",
       .type = OptionType::kNumber,
       .fallback = "1e-6",
       .placeholder = "VARIANCE",
       .range = {.min = 0, .max = 1e15},
       .help = "Mixtures: added to the variance of each feature in each component",
       .more =
           "Keeps a component that has shrunk to a point (or a line) from a density without bounds. In units of the "
           "scaled features, squared; scikit-learn's reg_covar is the same figure.",
       .store = [](Job& job, const Value& v) { job.model.reg_covar = number(v); }},
  };
}

std::vector<Option> optimizer_options() {
  return {
      {.section = "optimizer",
       .key = "name",
       .type = OptionType::kChoice,
       .fallback = "adagrad",
       .flag = "optimizer",
       .placeholder = "NAME",
       .choices = {{"sgd", "stochastic gradient descent"},
                   {"momentum", "SGD with (heavy-ball) momentum"},
                   {"nesterov", "SGD with Nesterov's momentum"},
                   {"adagrad", "a rate for each weight, by the gradients that it has seen"},
                   {"adam", "moments of the gradient, lazy for weights that a step does not touch"}},
       .help = "How weights follow gradients",
       .store = [](Job& job, const Value& v) { job.optimizer.name = text(v); }},
      {.section = "optimizer",
       .key = "learning_rate",
       .type = OptionType::kNumber,
       .fallback = "auto",
       .placeholder = "RATE",
       .range = kPositive,
       .help = "Size of a step, or auto",
       .more =
           "`\"auto\"` tries a few on a sample of the training data, seeded and bounded by examples; the rate that was "
           "found is printed and stored with the run.",
       .example = "0.1",
       .store = [](Job& job, const Value& v) { job.optimizer.learning_rate = maybe<double>(v); }},
      {.section = "optimizer",
       .key = "schedule",
       .type = OptionType::kChoice,
       .fallback = "auto",
       .placeholder = "NAME",
       .choices = {{"auto",
                    "linear, but a quarter of the rate in the first epoch; adagrad also forgets early gradients"},
                   {"constant", "the learning rate itself, always"},
                   {"inverse-sqrt", "falls with the square root of the epochs gone"},
                   {"linear", "falls evenly to zero over the epochs"},
                   {"cosine", "falls to zero over the epochs along half a cosine"},
                   {"step", "a tenth of it after half of the epochs, a hundredth after three quarters"}},
       .help = "How the learning rate changes over the run",
       .store = [](Job& job, const Value& v) { job.optimizer.schedule = text(v); }},
      {.section = "optimizer",
       .key = "batch_size",
       .type = OptionType::kInteger,
       .fallback = "auto",
       .placeholder = "ROWS",
       .range = {.min = 1, .max = 1073741824.0},
       .help = "Rows of a step, over all workers, or auto",
       .more =
           "More workers share the same batch, so that they do not change the model. `\"auto\"` goes by the number of "
           "training rows.",
       .example = "1000",
       .store = [](Job& job, const Value& v) { job.optimizer.batch_size = maybe<std::uint64_t>(v); }},
      {.section = "optimizer",
       .key = "momentum",
       .type = OptionType::kNumber,
       .fallback = "0.9",
       .placeholder = "DECAY",
       .range = kDecay,
       .help = "Decay of the velocity, for momentum and nesterov",
       .store = [](Job& job, const Value& v) { job.optimizer.momentum = number(v); }},
      {.section = "optimizer",
       .key = "beta1",
       .type = OptionType::kNumber,
       .fallback = "0.9",
       .placeholder = "DECAY",
       .range = kDecay,
       .help = "Decay of Adam's first moment",
       .store = [](Job& job, const Value& v) { job.optimizer.beta1 = number(v); }},
      {.section = "optimizer",
       .key = "beta2",
       .type = OptionType::kNumber,
       .fallback = "0.999",
       .placeholder = "DECAY",
       .range = kDecay,
       .help = "Decay of Adam's second moment",
       .store = [](Job& job, const Value& v) { job.optimizer.beta2 = number(v); }},
      {.section = "optimizer",
       .key = "epsilon",
       .type = OptionType::kNumber,
       .fallback = "auto",
       .placeholder = "VALUE",
       .range = kPositive,
       .help = "Keeps the divisor of adagrad and adam from zero; auto: their own",
       .example = "1e-8",
       .store = [](Job& job, const Value& v) { job.optimizer.epsilon = maybe<double>(v); }},
  };
}

std::vector<Option> stop_options() {
  return {
      {.section = "stop",
       .key = "epochs",
       .type = OptionType::kInteger,
       .fallback = "20",
       .placeholder = "N",
       .range = kCount,
       .help = "Passes over the training data, at most",
       .store = [](Job& job, const Value& v) { job.stop.epochs = small_integer(v); }},
      {.section = "stop",
       .key = "target_loss",
       .type = OptionType::kNumber,
       .fallback = "none",
       .placeholder = "LOSS",
       .range = {.min = -1e15, .max = 1e15},
       .help = "Stop once the validation loss is this low",
       .more =
           "A run that does not reach it within its time limit ends with exit code 5. Only that of a mixture may be "
           "0 or below: a density may be above 1.",
       .example = "0.32",
       .store = [](Job& job, const Value& v) { job.stop.target_loss = maybe<double>(v); }},
      {.section = "stop",
       .key = "patience",
       .type = OptionType::kInteger,
       .fallback = "3",
       .placeholder = "EPOCHS",
       .range = {.min = 0, .max = 4294967295.0},
       .help = "Stop after so many epochs without a better validation loss; 0: never",
       .more = "Under a schedule that falls (auto, linear, cosine, step) it counts from three quarters of the epochs "
               "on: before, losses go up and down by more than they fall.",
       .store = [](Job& job, const Value& v) { job.stop.patience = small_integer(v); }},
      {.section = "stop",
       .key = "seconds",
       .type = OptionType::kTime,
       .fallback = "none",
       .placeholder = "TIME",
       .help = "Stop after this time of training; takes units",
       .example = "\"15min\"",
       .store = [](Job& job, const Value& v) { job.stop.seconds = maybe<std::chrono::nanoseconds>(v); }},
      {.section = "stop",
       .key = "usd",
       .type = OptionType::kNumber,
       .fallback = "none",
       .flag = "budget",
       .placeholder = "USD",
       .range = kPositive,
       .help = "Stop before this sum is spent, in dollars",
       .more =
           "What functions and their data store would cost, those of a resumed run included. Each function is paid for "
           "up to its lifetime before it begins, so the sum is never exceeded, whatever dies; where it is small, "
           "lifetimes are shortened. Stopping leaves a checkpoint: virga resume goes on with a larger sum. Training "
           "with the engine \"single\" costs nothing.",
       .example = "0.05",
       .store = [](Job& job, const Value& v) { job.stop.usd = maybe<double>(v); }},
      {.section = "stop",
       .key = "improvement",
       .type = OptionType::kNumber,
       .fallback = "1e-4",
       .placeholder = "PART",
       .range = {.min = 0, .max = 1, .below_max = true},
       .help = "k-means, mixtures: stop once an epoch makes the training loss no more than this better",
       .more = "k-means: a part of the mean squared distance; mixtures: a difference of mean log-likelihoods. 0: once "
               "it no "
               "longer falls.",
       .store = [](Job& job, const Value& v) { job.stop.improvement = number(v); }},
  };
}

std::vector<Choice> price_tables() {
  static const auto all = [] {
    std::vector<std::pair<std::string, std::string>> tables;
    for (const auto& builtin : builtin_prices()) {
      const auto table = find_price_table(std::string(builtin.name));
      const auto place = table.region.empty() ? std::string() : " in " + table.region;
      tables.emplace_back(builtin.name, fmt::format("{}{}, prices of {}", table.name, place, table.date));
    }
    return tables;
  }();
  std::vector<Choice> choices;
  for (const auto& [name, help] : all) choices.push_back({name, help});
  choices.push_back(
      {.word = "",
       .help = "a table of one's own: a name that ends with .json or has a / (docs/formats/price-table.md)",
       .rest = "FILE",
       .check_rest = check_price_name,
       .is_path = true});
  return choices;
}

std::vector<Choice> instance_types() {
  static const auto all = [] {
    std::vector<std::pair<std::string, std::string>> types;
    for (const auto& [name, instance] : builtin_price_table().instances.types) {
      types.emplace_back(
          name,
          fmt::format("{} vCPUs, {:g} GiB, {:g} MB/s and {:g} ms between two of them, ${:g} an hour", instance.vcpus,
                      static_cast<double>(instance.memory_mb) / 1024, instance.network_mb_per_second,
                      std::chrono::duration<double, std::milli>(instance.network_latency).count(),
                      instance.rent.usd_per_hour));
    }
    return types;
  }();
  std::vector<Choice> choices;
  for (const auto& [name, help] : all) choices.push_back({name, help});
  choices.push_back({.word = "",
                     .help = "one of the price table of one's own (`functions.prices`)",
                     .rest = "TYPE",
                     .check_rest = [](std::string_view) {}});
  return choices;
}

std::vector<Option> function_options() {
  return {
      {.section = "functions",
       .key = "engine",
       .type = OptionType::kChoice,
       .fallback = "local",
       .placeholder = "NAME",
       .choices = {{"local",
                    "functions of this machine behind AWS Lambda's protocols, each in a sandbox within limits"},
                   {"single", "all cores of this machine, one process, no functions: the fastest here"},
                   {"process", "functions as plain processes of this machine, without limits"},
                   {"vm",
                    "virtual machines, played by plain processes of this machine that live as long as the run, are "
                    "connected with each other, and are billed by the second from their request on"},
                   {"lambda", "", kOnlySingle},
                   {"http", "", kOnlySingle},
                   {"container", "", kOnlySingle},
                   {"slurm", "", kOnlySingle}},
       .help = "Where workers run",
       .store = [](Job& job, const Value& v) { job.functions.engine = text(v); }},
      {.section = "functions",
       .key = "workers",
       .type = OptionType::kInteger,
       .fallback = "auto",
       .placeholder = "N",
       .range = {.min = 1, .max = 1024},
       .help = "Number of workers, or auto: as many as a step is worth, at most one for each core (two, if rows are "
               "sparse); with engine local two functions for each core; with engine vm each has a machine",
       .store =
           [](Job& job, const Value& v) {
             job.functions.workers = static_cast<std::uint32_t>(maybe<std::uint64_t>(v).value_or(0));
           }},
      {.section = "functions",
       .key = "memory",
       .type = OptionType::kBytes,
       .fallback = "auto",
       .placeholder = "BYTES",
       .range = {.min = 1, .max = 1e15},
       .help = "Most memory of a function, or auto; with engine local it buys processor time, 1769MB a whole core",
       .more =
           "Rows that do not fit are read again in each epoch. A job whose model, state and mini-batches need more is "
           "refused before it starts. `\"auto\"` is 1769MB; with engine local it is what gives all workers together "
           "0.8 of "
           "the machine's cores: 4 workers of 708MB on two cores.",
       .store = [](Job& job, const Value& v) { job.functions.memory_bytes = maybe<std::uint64_t>(v); }},
      {.section = "functions",
       .key = "lifetime",
       .type = OptionType::kTime,
       .fallback = "15min",
       .placeholder = "TIME",
       .range = {.min = 0.1, .max = 1e6},
       .help = "Longest life of a function: before that it leaves a checkpoint, from which the next one goes on",
       .store = [](Job& job, const Value& v) { job.functions.lifetime = std::get<std::chrono::nanoseconds>(v); }},
      {.section = "functions",
       .key = "rounds_per_invocation",
       .type = OptionType::kInteger,
       .fallback = "none",
       .placeholder = "N",
       .range = {.min = 1},
       .help = "A fresh function of each worker after every N rounds; 1 is PyWren's way; none: only at the end of a "
               "lifetime",
       .more =
           "A round is a step. Workers leave a checkpoint and end together, and the next ones go on from there with "
           "the "
           "same bits. Where they exchange only now and then (`exchange.every`), they leave at the first exchange from "
           "the N-th round on.",
       .example = "1",
       .store = [](Job& job, const Value& v) { job.functions.rounds_per_invocation = maybe<std::uint64_t>(v); }},
      {.section = "functions",
       .key = "instance",
       .type = OptionType::kChoice,
       .fallback = "c5.large",
       .placeholder = "TYPE",
       .choices = instance_types(),
       .help = "Type of the virtual machines of engine vm",
       .more =
           "Those of the price table (docs/formats/price-table.md) that `functions.prices` names. A worker computes "
           "with one thread, whatever the type. A job that needs more memory than the machine has is refused before it "
           "starts.",
       .store = [](Job& job, const Value& v) { job.functions.instance = text(v); }},
      {.section = "functions",
       .key = "prices",
       .type = OptionType::kChoice,
       .fallback = "aws-us-east-1",
       .placeholder = "NAME|FILE",
       .choices = price_tables(),
       .help = "By which prices dollars are reckoned and a budget is kept: a built-in table or a file of one's own",
       .more =
           "A copy of the table stays with the run: `virga show` and `virga resume` go by it, whatever becomes of the "
           "file. A run that uses a service, a type of machine or a size of function that the table does not sell is "
           "refused before it starts. `ibm-2021` has the figures that MLLess (Middleware 2021) reckons with. No "
           "built-in "
           "table was verified with its platform; to use your own, copy examples/prices/aws-us-east-1.json, change it, "
           "and name the copy. How fast functions are "
           "does not depend on it.",
       .example = "\"my-region.json\"",
       .store = [](Job& job, const Value& v) { job.functions.prices = text(v); }},
  };
}

std::vector<Choice> emulated_services() {
  std::vector<Choice> choices{
      {"none", "the channel as it is"},
      {"aws-2021",
       "the service that channel names, in its place, through a data store of the run (ps); with engine vm and channel "
       "direct the network between its machines"}};
  choices.push_back({"ibm-2021", "the same with MLLess's machines, of which Redis alone has figures"});
  for (const auto& profile : service_profiles()) choices.push_back({profile.name, profile.help});
  choices.push_back(
      {.word = "latency=",
       .help = "a service of your own: what a request takes, how much a second; ,polled: who waits asks again and "
               "again; ,network: straight between workers",
       .rest = "TIME,bandwidth=BYTES",
       .check_rest = [](std::string_view rest) {
         static_cast<void>(find_service_profile("latency=" + std::string(rest)));
       }});
  return choices;
}

std::vector<Option> exchange_options() {
  constexpr std::string_view kProtocol = "protocols \"bsp\", \"ssp\" and \"asp\" work";
  return {
      {.section = "exchange",
       .key = "algorithm",
       .type = OptionType::kChoice,
       .fallback = "gradient-averaging",
       .placeholder = "NAME",
       .choices = {{"gradient-averaging", "workers sum their gradients in every step"},
                   {"model-averaging", "workers step by themselves, and average their models now and then"},
                   {"admm", "each worker solves for its own rows, near what all have agreed on"}},
       .help = "What workers compute between exchanges",
       .more =
           "The last two are for functions: engine single has no workers that are apart. ADMM is for convex models, "
           "which all of these are; its epoch is a round of ADMM.",
       .store = [](Job& job, const Value& v) { job.exchange.algorithm = text(v); }},
      {.section = "exchange",
       .key = "every",
       .type = OptionType::kInteger,
       .fallback = "auto",
       .placeholder = "N",
       .range = {.min = 1},
       .help = "Model averaging: steps between two averages; protocol asp: between two meetings; auto is an epoch",
       .more =
           "Models are averaged, and workers meet, at the end of each epoch in any case. Checkpoints, and a stop, fall "
           "on these moments only.",
       .example = "50",
       .store = [](Job& job, const Value& v) { job.exchange.every = maybe<std::uint64_t>(v); }},
      {.section = "exchange",
       .key = "passes",
       .type = OptionType::kInteger,
       .fallback = "4",
       .placeholder = "N",
       .range = {.min = 1, .max = 1000},
       .help = "ADMM: passes of each worker through its rows before all agree: an epoch",
       .store = [](Job& job,
                   const Value& v) { job.exchange.passes = static_cast<std::uint32_t>(std::get<std::uint64_t>(v)); }},
      {.section = "exchange",
       .key = "rho",
       .type = OptionType::kNumber,
       .fallback = "auto",
       .placeholder = "RHO",
       .range = kPositive,
       .help = "ADMM: how strongly workers are pulled to what all agreed on; auto goes by l2",
       .more =
           "It is that of the mean loss: of the sum of the losses over P workers, as in the literature, it is P times "
           "less for each. `\"auto\"` is 0.1 times the square root of l2, or 1e-4 for an l2 below 1e-6.",
       .example = "3e-4",
       .store = [](Job& job, const Value& v) { job.exchange.rho = maybe<double>(v); }},
      {.section = "exchange",
       .key = "tolerance",
       .type = OptionType::kNumber,
       .fallback = "1e-3",
       .placeholder = "T",
       .range = kPositive,
       .help = "ADMM: the run ends when both residuals are that small, relative to what they are residuals of",
       .store = [](Job& job, const Value& v) { job.exchange.tolerance = std::get<double>(v); }},
      {.section = "exchange",
       .key = "protocol",
       .type = OptionType::kChoice,
       .fallback = "bsp",
       .placeholder = "NAME",
       .choices = {{"bsp", "bulk-synchronous: all workers take each step together"},
                   {"ssp", "stale-synchronous: a worker waits for what others did `staleness` steps ago"},
                   {"asp",
                    "asynchronous: each worker reads, steps and rewrites one global model, as SIREN's functions"},
                   {"isp", "", kProtocol},
                   {"ps", "", kProtocol}},
       .help = "How far workers may be apart",
       .more =
           "SSP and ASP are for algorithm gradient-averaging on functions, and their bits are those of no other run. "
           "ASP's workers meet at the end of each epoch, and every `every` steps; updates that they overwrite are "
           "lost, "
           "and counted.",
       .store = [](Job& job, const Value& v) { job.exchange.protocol = text(v); }},
      {.section = "exchange",
       .key = "staleness",
       .type = OptionType::kInteger,
       .fallback = "2",
       .placeholder = "S",
       .range = {.min = 0, .max = 64},
       .help = "SSP: steps by which what a worker computes from may lack others' contributions",
       .more = "0 gives the bits of protocol bsp.",
       .store = [](Job& job, const Value& v) { job.exchange.staleness = small_integer(v); }},
      {.section = "exchange",
       .key = "pattern",
       .type = OptionType::kChoice,
       .fallback = "default",
       .placeholder = "NAME",
       .choices = {{"default", "all-to-all for two workers, scatter-reduce for more"},
                   {"auto", "the fastest, by a probe of the channel when the run starts, of 2 s at most"},
                   {"scatter-reduce", "each worker sums its own range of the parameters and hands the sum out"},
                   {"leader", "one worker sums all and hands the sum out"},
                   {"all-to-all", "each worker hands all out, and each sums all"},
                   {"tree", "each worker sums those of a subtree, the root hands the sum out"},
                   {"pipelined", "scatter-reduce in pieces, some sent while others are summed and received"}},
       .help = "How functions sum their contributions: all patterns give the same bits",
       .more =
           "`\"auto\"` measures what small and large messages take, and reckons what a round would with each pattern "
           "(docs/collectives.md), given how many workers there are and how much each is expected to send; what it "
           "chose, and why, is printed and stored with the run, which is resumed with the same.",
       .store = [](Job& job, const Value& v) { job.exchange.pattern = text(v); }},
      {.section = "exchange",
       .key = "channel",
       .type = OptionType::kChoice,
       .fallback = "auto",
       .placeholder = "NAME",
       .choices =
           {{"auto", "ps; with engine \"vm\" direct; engine \"single\" needs none"},
            {"ps", "a data store (virga-ps) in the process that you start"},
            {.word = "ps:",
             .help = "a virga-ps of your own, at the address that it prints: unix:/PATH or tcp:HOST:PORT",
             .rest = "ADDRESS",
             .check_rest = check_store_address},
            {.word = "redis:",
             .help = "a Redis server, 7.0 or later; //USER@HOST:PORT/DATABASE and unix:/PATH, too",
             .rest = "//HOST:PORT",
             .check_rest = check_redis_address},
            {.word = "rediss:",
             .help = "the same over TLS; ?ca=FILE names the authority (PEM) of its certificate, if it is a private one",
             .rest = "//HOST:PORT",
             .check_rest = check_redis_tls_address},
            {.word = "memcached:",
             .help = "a Memcached, 1.6 or later, which should be started with -M; unix:/PATH, too",
             .rest = "//HOST:PORT",
             .check_rest = check_memcached_address},
            {.word = "dynamodb:",
             .help = "a table of DynamoDB; ?region=REGION and &endpoint=https://HOST:PORT if the environment does "
                     "not say them",
             .rest = "//TABLE/PREFIX",
             .check_rest = check_dynamo_table},
            {.word = "s3:",
             .help = "a bucket of S3 or of what speaks like it; ?region=REGION and &endpoint=https://HOST:PORT if the "
                     "environment does not say them",
             .rest = "//BUCKET/PREFIX",
             .check_rest = check_s3_place},
            {"s3", "the S3 of [services], as those that follow"},
            {"redis", "the Redis"},
            {"memcached", "the Memcached"},
            {"dynamodb", "the DynamoDB"},
            {"direct", "TCP straight between workers, which must reach each other: engines \"process\" and \"vm\""},
            {.word = "direct:",
             .help = "the same; each worker listens on HOST, an address of its machine",
             .rest = "HOST",
             .check_rest = check_direct_host},
            {"directory", "files in a folder of the run"}},
       .help = "What the contributions of functions travel through",
       .more = "The token of a virga-ps of your own, the password of a Redis server, or `user:password` of a Memcached "
               "stands "
               "in the variable `VIRGA_CHANNEL_TOKEN`; credentials for DynamoDB and S3 are found as the AWS tools find "
               "them. "
               "Should it die, workers go on from their newest checkpoint once it is back.",
       .example = "\"ps:tcp:127.0.0.1:7077\"",
       .store = [](Job& job, const Value& v) { job.exchange.channel = text(v); }},
      {.section = "exchange",
       .key = "emulate",
       .type = OptionType::kChoice,
       .fallback = "none",
       .placeholder = "SERVICE",
       .choices = emulated_services(),
       .help = "Make the channel as slow as a service was measured to be",
       .more = "What the channel takes itself comes on top, so it should be a fast one, such as `ps`. The figures of "
               "aws-2021 are those of LambdaML (SIGMOD 2021), not verified against AWS; MLLess published none of "
               "ibm-2021, which are assumed. Dollars are those of the service; of one of your own, of the channel.",
       .example = "\"aws-2021:s3\"",
       .store =
           [](Job& job, const Value& v) {
             job.exchange.emulate = maybe<std::string>(v);
             if (job.exchange.emulate == "none") job.exchange.emulate.reset();
           }},
      {.section = "exchange",
       .key = "faults",
       .type = OptionType::kTextList,
       .placeholder = "FAULTS",
       .help = "Make the channel fail on purpose, such as throttled=0.01,late=0.02,late-by=200ms",
       .more = "Probabilities of what becomes of a message that is put: `throttled` and `cut-off` (its put fails, and "
               "is made "
               "again; one that was cut off has arrived), `lost` (nobody hears of it: its receivers wait in vain, and "
               "a new view begins), `late` (by `late-by`, 10ms unless said) and `doubled`; `get-cut-off` is that of "
               "each message that is got. `jitter` is a time, up to which each request takes longer. What happens to a "
               "message follows from the seed alone. Requests that are made again are counted and priced.",
       .example = "[\"throttled=0.01\", \"jitter=5ms\"]",
       .store = [](Job& job, const Value& v) { job.exchange.faults = list(v); }},
  };
}

/// Where the service is that exchange.channel calls `key`; `uris` without help.
template <std::optional<std::string> Job::Services::*Member>
Option service_option(std::string_view key, std::vector<Choice> uris, std::string_view help, std::string_view example) {
  for (auto& uri : uris) uri.help = "as exchange.channel takes it";
  return {.section = "services",
          .key = key,
          .type = OptionType::kChoice,
          .placeholder = "URI",
          .choices = std::move(uris),
          .help = help,
          .example = example,
          .store = [](Job& job, const Value& v) { job.services.*Member = maybe<std::string>(v); }};
}

std::vector<Option> service_options() {
  using Services = Job::Services;
  return {
      service_option<&Services::s3>("s3", {{.word = "s3:", .rest = "//BUCKET/PREFIX", .check_rest = check_s3_place}},
                                    "Which S3 the channel s3 is", "\"s3://bucket/prefix\""),
      service_option<&Services::redis>(
          "redis",
          {{.word = "redis:", .rest = "//HOST:PORT", .check_rest = check_redis_address},
           {.word = "rediss:", .rest = "//HOST:PORT", .check_rest = check_redis_tls_address}},
          "Which Redis the channel redis is", "\"redis://127.0.0.1:6379\""),
      service_option<&Services::memcached>(
          "memcached", {{.word = "memcached:", .rest = "//HOST:PORT", .check_rest = check_memcached_address}},
          "Which Memcached the channel memcached is", "\"memcached://127.0.0.1:11211\""),
      service_option<&Services::dynamodb>(
          "dynamodb", {{.word = "dynamodb:", .rest = "//TABLE/PREFIX", .check_rest = check_dynamo_table}},
          "Which table of DynamoDB the channel dynamodb is", "\"dynamodb://table/prefix\""),
  };
}

std::vector<Option> other_options() {
  return {
      {.section = "output",
       .key = "model",
       .type = OptionType::kPath,
       .fallback = "model.safetensors",
       .flag = "out",
       .placeholder = "FILE",
       .help = "Where the model is written: a file, or s3://BUCKET/PREFIX/NAME",
       .store = [](Job& job, const Value& v) { job.output.model = text(v); }},
      {.section = "output",
       .key = "run",
       .type = OptionType::kChoice,
       .placeholder = "URI",
       .choices = {{.word = "s3:",
                    .help = "a place at S3 of its own, where nothing lies yet",
                    .rest = "//BUCKET/PREFIX",
                    .check_rest = check_run_place}},
       .help = "Where the run lies: its record, checkpoints and model; none: $VIRGA_HOME/runs",
       .more =
           "`virga resume URI`, on any machine, goes on with a run whose driver is gone; `show`, `stop`, `logs` and "
           "`rm` take the URI as well. Logs of functions stay on the machine of the driver.",
       .example = "\"s3://bucket/runs/first\"",
       .store = [](Job& job, const Value& v) { job.output.run = maybe<std::string>(v); }},
      {.section = "output",
       .key = "name",
       .placeholder = "NAME",
       .help = "Name of the run, for `virga show NAME`",
       .example = "\"first-try\"",
       .store = [](Job& job, const Value& v) { job.output.name = maybe<std::string>(v); }},
      {.section = "output",
       .key = "tags",
       .type = OptionType::kTextList,
       .placeholder = "TAGS",
       .help = "Words to find the run by",
       .example = "[\"baseline\"]",
       .store = [](Job& job, const Value& v) { job.output.tags = list(v); }},
      {.section = "",
       .key = "seed",
       .type = OptionType::kInteger,
       .fallback = "1",
       .placeholder = "N",
       .range = {.min = 0, .max = 9.3e18},
       .help = "Decides everything random: split, order, first weights",
       .more = "The same data, options and seed give the same model, bit for bit.",
       .store = [](Job& job, const Value& v) { job.seed = std::get<std::uint64_t>(v); }},
  };
}

std::vector<Option> all_options() {
  std::vector<Option> all;
  for (auto* declare : {data_options, model_options, optimizer_options, stop_options, function_options,
                        exchange_options, service_options, other_options}) {
    const auto some = declare();
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace

std::span<const Section> job_sections() {
  static constexpr Section kSections[] = {
      {"data", "What to learn from."},
      {"model", "What to train."},
      {"optimizer", "How weights follow gradients."},
      {"stop", "When a run ends; whichever comes first."},
      {"functions", "Where workers run."},
      {"exchange", "How workers agree on the weights."},
      {"services", "Where services are, for channels and presets that only name them."},
      {"output", "What a run leaves."},
      {"", "Above the first section."},
  };
  return kSections;
}

std::span<const Option> job_options() {
  static const std::vector<Option> all = all_options();
  return all;
}

const Option* find_option(std::string_view section, std::string_view key) {
  for (const auto& option : job_options()) {
    if (option.section == section && option.key == key) return &option;
  }
  return nullptr;
}

std::string choice_text(const Choice& choice) { return std::string(choice.word) + std::string(choice.rest); }

bool is_path(const Option& option, std::string_view text) {
  if (option.type == OptionType::kPath) return true;
  for (const auto& choice : option.choices) {
    if (choice.rest.empty() && choice.word == text) return false;
    if (!choice.rest.empty() && text.starts_with(choice.word)) return choice.is_path;
  }
  return false;
}

std::string option_name(const Option& option) {
  return option.section.empty() ? std::string(option.key) : std::string(option.section) + "." + std::string(option.key);
}

std::string option_flag(const Option& option) {
  auto flag = "--" + std::string(option.flag.empty() ? option.key : option.flag);
  std::ranges::replace(flag, '_', '-');
  return flag;
}

bool is_argument(const Option& option) { return option.section == "data" && option.key == "train"; }

std::string option_variable(const Option& option) {
  auto name = "VIRGA_" + option_name(option);
  std::ranges::replace(name, '.', '_');
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
}

}  // namespace virga
