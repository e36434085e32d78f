#include "virga/engine/local_engine.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address_v4.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <exception>
#include <future>
#include <optional>
#include <span>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/system_random.h"
#include "virga/engine/function_host.h"
#include "virga/engine/lambda_limits.h"
#include "virga/engine/lambda_service.h"
#include "virga/net/http_server.h"
#include "virga/net/socket.h"

namespace virga {
namespace {

std::string random_text(std::size_t length, std::string_view letters) {
  std::string bytes(length, '\0');
  fill_with_system_random(std::as_writable_bytes(std::span(bytes)));
  for (auto& c : bytes) c = letters[static_cast<unsigned char>(c) % letters.size()];
  return bytes;
}

Credentials new_credentials() {
  // Of lengths whose remainders make all letters equally likely: 32 and 64 divide 256.
  constexpr std::string_view kId = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  constexpr std::string_view kSecret = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  return {"AKIA" + random_text(16, kId), random_text(40, kSecret), ""};
}

/// So that two engines do not remove each other's code.
Descriptor lock_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw system_error("cannot create " + folder.string(), error.value());
  const auto file = folder / "lock";
  Descriptor lock(::open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  if (!lock) throw system_error("cannot write " + file.string(), errno);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) throw system_error("cannot lock " + file.string(), errno);
  throw Error(ErrorKind::kConflict, fmt::format("another engine uses the folder {}", folder.string()),
              "stop that one, or name another folder");
}

void raise_file_limit() noexcept {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == files.rlim_max) return;
  files.rlim_cur = files.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &files));
}

}  // namespace

class LocalEngine::Impl {
 public:
  explicit Impl(Options options)
      : options_(complete(std::move(options))),
        listener_(options_.listen),
        lock_(lock_folder(options_.folder)),
        work_(context_.get_executor()) {
    raise_file_limit();
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
    // If the engine ends first, the handler is destroyed with the promise that it alone holds, and none are left.
    auto all = std::make_shared<std::promise<std::vector<pid_t>>>();
    auto result = all->get_future();
    boost::asio::post(context_, [this, all = std::move(all)] { all->set_value(host_->processes()); });
    try {
      return result.get();
    } catch (const std::future_error&) {
      return {};
    }
  }

 private:
  static Options complete(Options options) {
    if (options.credentials.access_key_id.empty()) options.credentials = new_credentials();
    options.folder = std::filesystem::absolute(options.folder);
    for (const auto& service : options.services) {
      boost::system::error_code error;
      (void)boost::asio::ip::make_address_v4(service.host, error);
      if (!error || service.host == "localhost") continue;
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("functions of the local engine reach hosts by IPv4 alone, not {}", to_string(service)),
                  "give the host's IPv4 number");
    }
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
                                                  .sandbox_name = fmt::format("engine{}", listener_.address().port),
                                                  .sandbox = options_.sandbox});
    powers_ = host_->powers();
    remove_code();
    service_.emplace(*host_, LambdaService::Options{.folder = options_.folder / "code",
                                                    .region = options_.region,
                                                    .credentials = options_.credentials});
    Descriptor listening(::fcntl(listener_.descriptor(), F_DUPFD_CLOEXEC, 0));
    if (!listening) throw system_error("cannot listen", errno);
    server_.emplace(context_, std::move(listening),
                    HttpServer::Options{.limits = {.body_bytes = lambda::kMostApiRequestBytes}},
                    [this](const HttpRequest& request, const HttpReply& reply) { service_->handle(request, reply); });
  }
  void stop() {
    server_.reset();
    service_.reset();
    host_.reset();
    remove_code();
  }
  void remove_code() const noexcept {
    std::error_code ignored;  // what stays is found and removed by the next engine
    std::filesystem::remove_all(options_.folder / "code", ignored);
  }

  const Options options_;
  Listener listener_;
  Descriptor lock_;
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
