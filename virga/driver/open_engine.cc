#include "virga/driver/open_engine.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/memory.h"
#include "virga/cost/price_table.h"
#include "virga/engine/lambda_engine.h"
#include "virga/engine/local_engine.h"
#include "virga/engine/process_engine.h"
#include "virga/engine/zip.h"

namespace virga {
namespace {

constexpr std::uint64_t kMostProgramBytes = std::uint64_t{64} << 20;

/// A local engine of this process, and a client of it that knows of nothing but its address and a key.
class EmbeddedEngine final : public Engine {
 public:
  EmbeddedEngine(LocalEngine::Options local, LambdaEngine::Options function)
      : local_(std::move(local)),
        client_(std::make_shared<LambdaClient>(LambdaClient::Options{
            .endpoint = local_.address(), .credentials = local_.credentials(), .region = local_.region()})),
        function_(client_, std::move(function)) {}

  Invocation invoke(const Payload& payload, const std::string& name) override {
    return function_.invoke(payload, name);
  }
  [[nodiscard]] std::vector<Ended> wait(std::chrono::milliseconds time) override { return function_.wait(time); }
  void kill(Invocation invocation) noexcept override { function_.kill(invocation); }
  void kill_all() noexcept override { function_.kill_all(); }
  [[nodiscard]] std::vector<pid_t> processes() const override { return local_.processes(); }
  [[nodiscard]] std::string limits() const override { return describe(local_.powers()); }

 private:
  LocalEngine local_;
  std::shared_ptr<LambdaClient> client_;
  LambdaEngine function_;
};

/// What is asked for is what is paid for.
std::uint32_t memory_size_mb(const FunctionPrices& prices, std::uint64_t bytes) {
  const auto megabytes = billed_megabytes(prices, bytes);
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(megabytes, lambda::kLeastMemoryMb, lambda::kMostMemoryMb));
}

/// Of the data; what is not a folder of this machine is found otherwise.
std::vector<std::filesystem::path> folders_of(const FunctionsPlace& place) {
  std::vector<std::filesystem::path> folders;
  for (std::string_view uri :
       {std::string_view(place.data), place.validation ? std::string_view(*place.validation) : std::string_view()}) {
    constexpr std::string_view kFile = "file://";
    if (uri.starts_with(kFile)) uri.remove_prefix(kFile.size());
    if (!uri.empty() && std::filesystem::is_directory(uri)) folders.emplace_back(uri);
  }
  return folders;
}

std::unique_ptr<Engine> open_local_engine(const FunctionsPlace& place,
                                          const std::map<std::string, std::string>& environment,
                                          std::vector<Address> services) {
  const auto program = read_file(place.program, kMostProgramBytes);
  const ZipMember bootstrap{.name = "bootstrap", .bytes = as_text(program), .mode = 0755};
  LocalEngine::Options local{.folder = place.folder / "engine",
                             .writable = {place.folder},
                             .readable = folders_of(place),
                             .services = std::move(services),
                             .memory_bytes = memory_limit(),
                             .cpus = static_cast<double>(place.cores),
                             .doubles_events = place.doubles_events};
  const auto timeout = std::chrono::ceil<std::chrono::seconds>(place.lifetime);
  LambdaEngine::Options function{.function_name = "virga-" + place.run_id,
                                 .zip = make_zip({&bootstrap, 1}, ZipMethod::kStored),
                                 .memory_mb = memory_size_mb(place.prices.functions, place.memory_bytes),
                                 .timeout = std::clamp(timeout, lambda::kLeastTimeout, lambda::kMostTimeout),
                                 .environment = environment};
  return std::make_unique<EmbeddedEngine>(std::move(local), std::move(function));
}

}  // namespace

std::unique_ptr<Engine> open_engine(const FunctionsPlace& place, std::map<std::string, std::string> environment,
                                    std::vector<Address> services) {
  environment.insert(place.environment.begin(), place.environment.end());
  if (place.engine == FunctionsPlace::EngineKind::kLocal) {
    return open_local_engine(place, environment, std::move(services));
  }
  return std::make_unique<ProcessEngine>(ProcessEngine::Options{.program = place.program,
                                                                .folder = place.folder / "logs",
                                                                .environment = environment,
                                                                .grace = place.grace,
                                                                .twin = place.twin});
}

}  // namespace virga
