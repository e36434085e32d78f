#include "virga/cli/train_session.h"

#include <optional>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/memory.h"
#include "virga/base/threads.h"

namespace virga {

Settings job_settings(const std::string& what, const JobFlags& flags, const Session& session) {
  const bool is_job = is_job_file(what);
  auto settings = flags.settings();
  if (!is_job) {
    settings.push_back(
        {.option = find_option("data", "train"), .value = what, .source = Source::kFlag, .origin = "argument"});
  }
  return load_settings(session, is_job ? what : "", std::move(settings));
}

PriceTable load_prices(const Settings& settings) {
  const auto& setting = settings.get("functions", "prices");
  try {
    return find_price_table(std::get<std::string>(setting.value));
  } catch (const Error& error) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: functions.prices: {}", setting.origin, error.what()),
                error.remedy().empty() ? "docs/formats/price-table.md says what such a file holds" : error.remedy());
  }
}

TrainRequest train_request(Job job, Settings settings, PriceTable prices, const Session& session) {
  if (job.data.train.empty()) {
    throw Error(ErrorKind::kUsage, "the job does not say what to train on", "set train in its [data] section");
  }
  return {std::move(job),     std::move(settings), session.home(),     usable_cores(),
          memory_limit() / 4, std::nullopt,        function_program(), session.variable(kTokenVariable),
          std::move(prices)};
}

std::filesystem::path function_program() {
  auto path = std::filesystem::read_symlink("/proc/self/exe");
  path.replace_filename("virga-function");
  return path;
}

}  // namespace virga
