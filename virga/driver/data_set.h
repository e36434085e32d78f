#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "virga/data/import.h"
#include "virga/data/manifest.h"
#include "virga/job/job.h"
#include "virga/storage/object_store.h"

namespace virga {

/// An imported set that is open for reading.
struct DataSet {
  std::string uri;
  std::unique_ptr<ObjectStore> store;
  Manifest manifest;
};

/// Throws Error(kNotFound) if there is no set at `uri`, and what read_manifest throws.
[[nodiscard]] DataSet open_data_set(const std::string& uri);

/// Is there an imported set at `uri` (rather than a raw file, or nothing)?
[[nodiscard]] bool is_data_set(const std::string& uri);

/// What a job trains, validates and is tested on.
struct JobData {
  DataSet train;
  std::optional<DataSet> validation = std::nullopt;     ///< a set of its own; else the training set's split
  std::optional<DataSet> test = std::nullopt;           ///< the same
  std::optional<std::string> test_file = std::nullopt;  ///< raw rows beside an imported training set
};

/// The import that a job's [data] section asks for; the destination is left open.
[[nodiscard]] ImportOptions import_options(const Job::Data& data, std::uint64_t seed);

/// What happens while raw files are imported.
struct ImportEvents {
  std::function<void(const ImportProgress&)> progress;
  std::function<void(const ImportReport&)> imported;  ///< not called when the cache had it
};

/// Opens what `data` names. Raw files are imported into `home`/cache first, where the next job with the same files
/// (path, size, time) and import options finds the set; raw validation and test files belong to the same import. Throws
/// Error(kUsage) when of training and validation data one is a set and the other raw, Error(kNotFound) when there is
/// nothing at the place of the test data, and what import and opening throw.
[[nodiscard]] JobData open_job_data(const Job::Data& data, std::uint64_t seed, const std::filesystem::path& home,
                                    const ImportEvents& events, const std::stop_token& stop);

/// The same without any work: nothing if raw files would have to be imported first.
[[nodiscard]] std::optional<JobData> find_job_data(const Job::Data& data, std::uint64_t seed,
                                                   const std::filesystem::path& home);

/// Throws Error(kBadData), saying what differs, unless a model trained on `training` can be judged by rows of `other`.
void check_same_encoding(const DataSet& training, const DataSet& other);

}  // namespace virga
