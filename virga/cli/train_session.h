#pragma once

#include <string>

#include "virga/cli/job_flags.h"
#include "virga/cli/session.h"
#include "virga/driver/train_run.h"

namespace virga {

/// The settings of a command that trains `what`: a job file, or the data of a job that is all flags and defaults.
[[nodiscard]] Settings job_settings(const std::string& what, const JobFlags& flags, const Session& session);

/// The price table that `functions.prices` means. Throws Error(kUsage), naming who said it, the file and what is wrong.
[[nodiscard]] PriceTable load_prices(const Settings& settings);

/// With what this machine and the session's environment have. Throws Error(kUsage) for a job without data.
[[nodiscard]] TrainRequest train_request(Job job, Settings settings, PriceTable prices, const Session& session);

/// virga-function, beside this program.
[[nodiscard]] std::filesystem::path function_program();

constexpr std::string_view kTokenVariable = "VIRGA_CHANNEL_TOKEN";  ///< of a data store; a secret, and so no option

}  // namespace virga
