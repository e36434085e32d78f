#include "virga/training/function_size.h"

#include <algorithm>
#include <cmath>

namespace virga {
namespace {

constexpr double kMegabyte = 1e6;
constexpr double kCpuMegabytes = 1769;   // AWS Lambda Developer Guide: one vCPU
constexpr double kLeastMegabytes = 128;  // of a function on AWS Lambda
constexpr double kShareOfMachine = 0.8;
constexpr double kDefaultCpus = 0.4;  // of a function

FunctionSize machine_size(const Job::Functions& job, unsigned cores, const Instance& instance) {
  return {.workers = job.workers,
          .memory_bytes = (instance.memory_mb << 20U) / 10 * 9,
          .cpus = static_cast<double>(instance.vcpus),
          .oversubscribed = job.workers > cores};  // a worker computes on one of them
}

FunctionSize size_of_functions(const Job::Functions& job, unsigned cores) {
  FunctionSize size{.workers = job.workers};
  const double share = kShareOfMachine * cores;
  double megabytes = kCpuMegabytes;
  if (job.memory_bytes) {
    megabytes = static_cast<double>(*job.memory_bytes) / kMegabyte;
  } else if (job.engine == "local") {
    const double cpus = job.workers == 0 ? kDefaultCpus : share / job.workers;
    megabytes = std::clamp(std::round(cpus * kCpuMegabytes), kLeastMegabytes, kCpuMegabytes);
  }
  size.memory_bytes = job.memory_bytes ? *job.memory_bytes : static_cast<std::uint64_t>(megabytes * kMegabyte);
  // No function is smaller than what a platform sells.
  size.cpus = std::min(std::max(megabytes, kLeastMegabytes) / kCpuMegabytes, static_cast<double>(cores));
  if (job.engine != "local") return size;
  // A hair above, for shares that were rounded to a megabyte.
  constexpr double kRounding = 1.01;
  if (size.workers == 0) {
    size.workers = static_cast<std::uint32_t>(std::max(1.0, std::floor(share * kRounding / size.cpus)));
  }
  size.oversubscribed = size.workers * size.cpus > cores * kRounding;
  return size;
}

}  // namespace

FunctionSize function_size(const Job::Functions& job, unsigned cores, const PriceTable& prices) {
  if (job.engine == "vm") return machine_size(job, cores, find_instance(prices, job.instance));
  return size_of_functions(job, cores);
}

std::uint32_t function_count(const Job::Functions& job, unsigned cores) {
  return job.engine == "vm" ? job.workers : size_of_functions(job, cores).workers;
}

}  // namespace virga
