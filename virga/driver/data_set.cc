#include "virga/driver/data_set.h"

#include <utility>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "virga/base/error.h"
#include "virga/base/hash.h"
#include "virga/base/version.h"

namespace virga {
namespace {

namespace fs = std::filesystem;

MissingPolicy missing_policy(const std::string& word) {
  for (const auto policy :
       {MissingPolicy::kIndicator, MissingPolicy::kMean, MissingPolicy::kZero, MissingPolicy::kError}) {
    if (to_string(policy) == word) return policy;
  }
  check(false, "missing policies are those of the option's declaration");
  return MissingPolicy::kIndicator;
}

std::optional<ScaleKind> scale_kind(const std::string& word) {
  if (word == "none") return ScaleKind::kNone;
  if (word == "maxabs") return ScaleKind::kMaxAbs;
  if (word == "standard") return ScaleKind::kStandardise;
  return std::nullopt;
}

Error not_found(const std::string& path) {
  return {ErrorKind::kNotFound, fmt::format("cannot read {}: No such file or directory", path), "check the path"};
}

/// Says which files a path stands for and when they were last written: what a cached import depends on.
std::string state_of(const std::string& path) {
  std::error_code missing;
  const auto whole = fs::weakly_canonical(path, missing);
  if (!fs::exists(whole)) throw not_found(path);
  std::string state = whole.string();
  const auto add_time = [&](const fs::path& part) {
    state += fmt::format("|{}", fs::last_write_time(part).time_since_epoch().count());
  };
  add_time(whole);
  // The labels of an IDX file stand beside it, so its folder counts too.
  if (whole.filename().string().find("idx") != std::string::npos) add_time(whole.parent_path());
  if (fs::is_regular_file(whole)) state += fmt::format("|{}", fs::file_size(whole));
  return state;
}

std::string cache_key(const ImportOptions& o) {
  std::string text = fmt::format("{} {} {} {}", created_by(), o.seed, o.validation_fraction.value_or(-1),
                                 o.scale ? static_cast<int>(*o.scale) : -1);
  for (const auto* files : {&o.train, &o.validation, &o.test}) {
    text += "\nfiles";
    for (const auto& file : *files) text += "\n" + state_of(file);
  }
  text += fmt::format("\n{}\n{}\n{}\n{}\n{}\n{}", o.csv.label, o.csv.weight, fmt::join(o.csv.numeric, "\x1f"),
                      fmt::join(o.csv.categorical, "\x1f"), fmt::join(o.csv.ignored, "\x1f"),
                      static_cast<int>(o.csv.missing));
  return fmt::format("{}-{:08x}{:08x}", fs::path(o.train.front()).filename().string(), crc32c(as_bytes(text)),
                     murmur3_x86_32(text));
}

/// Imports beside its place in the cache and moves it there: of two jobs that import the same at once, either's will
/// do.
void import_into(const fs::path& place, ImportOptions options, const ImportEvents& events,
                 const std::stop_token& stop) {
  const auto beside = place.parent_path() / fmt::format(".{}.{}", place.filename().string(), ::getpid());
  options.to = beside.string();
  options.overwrite = true;
  options.stop = stop;
  options.on_progress = events.progress;
  std::error_code ignored;
  try {
    const auto report = import_set(options);
    fs::remove_all(place, ignored);  // what a crash has left
    std::error_code taken;
    fs::rename(beside, place, taken);
    if (taken && !is_data_set(place.string()))
      throw system_error("cannot move the imported set to " + place.string(), taken.value());
    if (events.imported) events.imported(report);
  } catch (...) {
    fs::remove_all(beside, ignored);
    throw;
  }
  fs::remove_all(beside, ignored);
}

/// Test data that are not part of the training set.
void take_test(const Job::Data& data, JobData& job) {
  if (!data.test) return;
  if (is_data_set(*data.test)) {
    job.test = open_data_set(*data.test);
  } else if (std::error_code failed; fs::exists(*data.test, failed)) {
    job.test_file = *data.test;
  } else {
    throw not_found(*data.test);
  }
}

JobData open_sets(const Job::Data& data) {
  JobData job{open_data_set(data.train)};
  if (data.validation && !is_data_set(*data.validation)) {
    throw Error(ErrorKind::kUsage,
                fmt::format("{} is an imported set, but the validation data {} are not", data.train, *data.validation),
                "import both together: virga import TRAIN --validation FILE --to URI");
  }
  if (data.validation) job.validation = open_data_set(*data.validation);
  take_test(data, job);
  return job;
}

/// Raw files are files; elsewhere there are only sets.
bool must_be_set(const std::string& uri) { return !store_directory(uri); }

struct PlannedImport {
  ImportOptions options;  // but for the destination
  fs::path place;         // in the cache
};

PlannedImport planned_import(const Job::Data& data, std::uint64_t seed, const fs::path& home) {
  if (data.validation && is_data_set(*data.validation)) {
    throw Error(
        ErrorKind::kUsage,
        fmt::format("{} is a raw file, but the validation data {} are an imported set", data.train, *data.validation),
        "give raw files for both, or import both together: virga import TRAIN --validation FILE --to URI");
  }
  auto options = import_options(data, seed);
  if (data.test && is_data_set(*data.test)) options.test.clear();
  auto place = home / "cache" / cache_key(options);
  return {std::move(options), std::move(place)};
}

JobData open_imported(const Job::Data& data, const fs::path& place) {
  JobData job{open_data_set(place.string())};
  if (data.test && is_data_set(*data.test)) take_test(data, job);
  return job;
}

}  // namespace

ImportOptions import_options(const Job::Data& data, std::uint64_t seed) {
  ImportOptions options;
  options.train = {data.train};
  if (data.validation) options.validation = {*data.validation};
  if (data.test) options.test = {*data.test};
  if (!data.validation) options.validation_fraction = data.validation_fraction;
  options.scale = scale_kind(data.scale);
  options.seed = seed;
  options.csv.label = data.label.value_or("");
  options.csv.weight = data.weight.value_or("");
  options.csv.numeric = data.numeric;
  options.csv.categorical = data.categorical;
  options.csv.ignored = data.ignore;
  options.csv.missing = missing_policy(data.missing);
  options.created_by = created_by();
  return options;
}

DataSet open_data_set(const std::string& uri) {
  DataSet set{uri, open_object_store(uri), {}};
  set.manifest = read_manifest(*set.store);
  return set;
}

bool is_data_set(const std::string& uri) {
  std::error_code ignored;
  if (fs::is_regular_file(uri, ignored)) return false;
  return open_object_store(uri)->exists("manifest.json");
}

JobData open_job_data(const Job::Data& data, std::uint64_t seed, const fs::path& home, const ImportEvents& events,
                      const std::stop_token& stop) {
  if (must_be_set(data.train) || is_data_set(data.train)) return open_sets(data);
  const auto [options, place] = planned_import(data, seed, home);
  if (!is_data_set(place.string())) {
    std::error_code failed;
    fs::create_directories(place.parent_path(), failed);
    if (failed) throw system_error("cannot create " + place.parent_path().string(), failed.value());
    import_into(place, options, events, stop);
  }
  return open_imported(data, place);
}

std::optional<JobData> find_job_data(const Job::Data& data, std::uint64_t seed, const fs::path& home) {
  if (must_be_set(data.train) || is_data_set(data.train)) return open_sets(data);
  const auto place = planned_import(data, seed, home).place;
  if (!is_data_set(place.string())) return std::nullopt;
  return open_imported(data, place);
}

void check_same_encoding(const DataSet& training, const DataSet& other) {
  const auto& a = training.manifest.encoding;
  const auto& b = other.manifest.encoding;
  std::string difference;
  if (a.format != b.format) {
    difference = fmt::format("one was imported from {}, the other from {}", to_string(a.format), to_string(b.format));
  } else if (a.dense != b.dense) {
    difference = "one is dense, the other sparse";
  } else if (a.features != b.features) {
    difference = fmt::format("{} features against {}", a.features, b.features);
  } else if (a.classes != b.classes) {
    difference = "their classes differ";
  } else if (a != b) {
    difference = "their columns or scaling differ";
  }
  if (difference.empty()) return;
  throw Error(ErrorKind::kBadData,
              fmt::format("{} and {} do not fit together: {}", training.uri, other.uri, difference),
              "import both at once: virga import TRAIN --validation FILE --to URI");
}

}  // namespace virga
