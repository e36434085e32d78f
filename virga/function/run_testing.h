#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "virga/base/random.h"
#include "virga/channel/directory_register.h"
#include "virga/control/run_folder.h"
#include "virga/data/import.h"
#include "virga/function/payload.h"
#include "virga/storage/object_store.h"
#include "virga/training/plan.h"
#include "virga/training/worker_job.h"

namespace virga {

/// A few rows with a planted linear model, as an imported set in `folder`, whose URI it returns.
inline std::string make_tiny_set(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  std::ofstream text(folder / "rows.libsvm");
  const Random random(3, Purpose::kTest);
  for (std::uint32_t row = 0; row < 500; ++row) {
    double score = 0;
    std::string features;
    for (std::uint32_t f = 0; f < 10; ++f) {
      const double value = random.uniform(0, row, f);
      score += (value - 0.5) * (random.uniform(1, f) - 0.5);
      features += " " + std::to_string(f + 1) + ":" + std::to_string(value);
    }
    text << (score > 0 ? "+1" : "-1") << features << "\n";
  }
  text.close();
  ImportOptions options;
  options.train = {(folder / "rows.libsvm").string()};
  options.to = (folder / "set").string();
  options.rows_per_group = 50;
  options.threads = 1;
  import_set(options);
  return options.to;
}

/// What a driver leaves for the only worker of a run before it invokes it. `seed` tells runs apart.
inline void prepare_run(const std::filesystem::path& folder, const std::string& set, std::uint64_t seed) {
  Job job;
  job.functions.engine = "single";
  job.stop.epochs = 3;
  job.stop.patience = 0;
  job.functions.workers = 1;
  job.optimizer.learning_rate = 0.5;
  job.optimizer.batch_size = 20;
  const auto manifest = read_manifest(*open_object_store(set));
  WorkerJob worker_job;
  worker_job.run = "test";
  worker_job.data = set;
  worker_job.data_checksum = manifest_checksum(manifest);
  worker_job.channel = "directory:" + (folder / "channel").string();
  worker_job.plan = plan_training(job, manifest, 1);
  worker_job.seed = seed;
  worker_job.validates = true;
  open_object_store(folder.string())->put(kJobObject, as_bytes(encode_worker_job(worker_job)));
  DirectoryRegister registers((folder / "registers").string());
  const Wait soon = {Deadline::in(std::chrono::seconds(30))};
  registers.write(kDriverRegister, as_bytes("{}"), soon);
  registers.write(kViewRegister, as_bytes(encode_view({.view = {.number = 1, .members = {{0, 1}}}})), soon);
}

inline Payload worker_payload(const std::filesystem::path& run) {
  return {.run = run.string(), .task = "worker", .member = {0, 1}};
}
inline Payload evaluation_payload(const std::filesystem::path& run, std::uint32_t epoch) {
  return {.run = run.string(), .task = "evaluate", .member = {}, .epoch = epoch};
}

}  // namespace virga
