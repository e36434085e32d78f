#pragma once

#include <cstdint>

#include "virga/cost/price_table.h"
#include "virga/job/job.h"

namespace virga {

/// How many functions train, and how large each is.
struct FunctionSize {
  std::uint32_t workers = 0;  ///< 0: not said
  std::uint64_t memory_bytes = 0;
  double cpus = 1;  ///< processors' worth of time of each, as memory buys it (AWS Lambda: 1 for 1,769 MB); a VM's vCPUs
  bool oversubscribed = false;  ///< all together would have more than this machine has
};

/// What a job says, and defaults for what it leaves open. Where functions share `cores` of this machine under limits
/// (engine "local"), their processor shares sum to at most 0.8 of them: on two cores 4 functions of 708 MB; what is
/// left is for their engine, data store and driver. Of a virtual machine (engine "vm") a worker has nine tenths of the
/// memory. A pure function; throws Error(kNotFound) for a type of machine that the price table does not have.
[[nodiscard]] FunctionSize function_size(const Job::Functions& job, unsigned cores, const PriceTable& prices);
/// FunctionSize::workers, which no price decides.
[[nodiscard]] std::uint32_t function_count(const Job::Functions& job, unsigned cores);

}  // namespace virga
