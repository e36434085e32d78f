#include "virga/engine/local_engine.h"

#include <array>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <exception>
#include <future>
#include <optional>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include "virga/base/error.h"
#include "virga/engine/function_host.h"
#include "virga/engine/lambda_limits.h"
#include "virga/engine/lambda_service.h"
#include "virga/net/http_server.h"
#include "virga/net/socket.h"

namespace virga {
namespace {

std::string random_text(std::size_t length, std::string_view letters) {
  std::string bytes(length, '\0');
  if (::getrandom(bytes.data(), length, 0) != static_cast<ssize_t>(length)) {
    throw system_error("cannot make credentials", errno);
  }
  for (auto& c : bytes) c = letters[static_cast<unsigned char>(c) % letters.size()];
  return bytes;
}

Credentials new_credentials() {
  // Of lengths whose remainders make all letters equally likely: 32 and 64 divide 256.
  constexpr std::string_view kId = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  constexpr std::string_view kSecret = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  return {"AKIA" + random_text(16, kId), random_text(40, kSecret), ""};
}

}  // namespace

class LocalEngine::Impl {
 public:
  explicit Impl(Options options)
      : options_(complete(std::move(options))), listener_(options_.listen), work_(context_.get_executor()) {
    // What starts processes must be one thread that lives as long as they may: they die with it.
    std::promise<void> ready;
    auto started = ready.get_future();
    thread_ = std::thread([this, &ready] { run(ready); });
    try {
      started.get();
    } catch (...) {
      thread_.join();
      throw;
    }
  }

  ~Impl() {
    context_.stop();
    thread_.join();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  [[nodiscard]] const Address& address() const noexcept { return listener_.address(); }
  [[nodiscard]] const Options& options() const noexcept { return options_; }
  [[nodiscard]] const SandboxPowers& powers() const noexcept { return powers_; }

  [[nodiscard]] std::vector<pid_t> processes() {
    std::promise<std::vector<pid_t>> all;
    auto result = all.get_future();
    boost::asio::post(context_, [&] { all.set_value(host_->processes()); });
    return result.get();
  }

 private:
  static Options complete(Options options) {
    if (options.credentials.access_key_id.empty()) options.credentials = new_credentials();
    return options;
  }

  void run(std::promise<void>& ready) {
    try {
      start();
    } catch (...) {
      stop();
      ready.set_exception(std::current_exception());
      return;
    }
    ready.set_value();
    context_.run();
    stop();
  }

  void start() {
    host_.emplace(context_, FunctionHost::Options{.folder = options_.folder,
                                                  .region = options_.region,
                                                  .writable = options_.writable,
                                                  .readable = options_.readable,
                                                  .services = options_.services,
                                                  .cpus = options_.cpus,
                                                  .memory_bytes = options_.memory_bytes,
                                                  .most_concurrent = options_.most_concurrent,
                                                  .idle_time = options_.idle_time,
                                                  .retry_pauses = options_.retry_pauses,
                                                  .doubles_events = options_.doubles_events,
                                                  .sandbox_name = "engine",
                                                  .sandbox = options_.sandbox});
    powers_ = host_->powers();
    service_.emplace(*host_, LambdaService::Options{.folder = options_.folder / "code",
                                                    .region = options_.region,
                                                    .credentials = options_.credentials});
    Descriptor listening(::fcntl(listener_.descriptor(), F_DUPFD_CLOEXEC, 0));
    if (!listening) throw system_error("cannot listen", errno);
    server_.emplace(context_, std::move(listening),
                    HttpServer::Options{.limits = {.body_bytes = lambda::kMostApiRequestBytes}},
                    [this](HttpRequest request, const HttpReply& reply) { service_->handle(request, reply); });
  }
  void stop() {
    server_.reset();
    service_.reset();
    host_.reset();
  }

  const Options options_;
  Listener listener_;
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::optional<FunctionHost> host_;
  std::optional<LambdaService> service_;
  std::optional<HttpServer> server_;
  SandboxPowers powers_;
  std::thread thread_;
};

LocalEngine::LocalEngine(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
LocalEngine::~LocalEngine() = default;
const Address& LocalEngine::address() const noexcept { return impl_->address(); }
const Credentials& LocalEngine::credentials() const noexcept { return impl_->options().credentials; }
const std::string& LocalEngine::region() const noexcept { return impl_->options().region; }
const SandboxPowers& LocalEngine::powers() const noexcept { return impl_->powers(); }
std::vector<pid_t> LocalEngine::processes() const { return impl_->processes(); }

}  // namespace virga
