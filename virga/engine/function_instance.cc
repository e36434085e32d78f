#include "virga/engine/function_instance.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/engine/lambda_limits.h"
#include "virga/engine/lambda_report.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr std::string_view kRuntime = "/2018-06-01/runtime/";
constexpr std::uint16_t kRuntimePort = 9001;
constexpr auto kMemoryLook = 50ms;
/// While what was killed still dies.
constexpr auto kDyingLook = 5ms;
/// Of an instance's log that is kept in memory until its event is over.
constexpr std::size_t kLogKept = std::size_t{16} << 10;
/// Read before others have their turn; more than a pipe holds, so what was written before an answer is read with it.
constexpr std::size_t kReadTurn = std::size_t{256} << 10;
/// Between two turns of a function whose log is full: it may go on, but not cost as much as it likes.
constexpr auto kFullLogPause = 20ms;

std::string dump(const json& document) { return document.dump(-1, ' ', false, json::error_handler_t::replace); }

HttpResponse json_response(int status, const json& document) {
  return {status, {{"Content-Type", "application/json"}}, dump(document)};
}

HttpResponse runtime_error(int status, std::string_view type, std::string_view message) {
  return json_response(status, {{"errorType", type}, {"errorMessage", message}});
}

int duplicate(int descriptor) {
  const int copy = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) throw system_error("cannot watch a function", errno);
  return copy;
}

/// What a process gets to see, as AWS names it.
std::map<std::string, std::string> environment_of(const InstanceSettings& settings) {
  auto environment = settings.environment;
  const auto memory_mb = settings.memory_bytes >> 20;
  environment["AWS_LAMBDA_FUNCTION_NAME"] = settings.function;
  environment["AWS_LAMBDA_FUNCTION_VERSION"] = "$LATEST";
  environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] = std::to_string(memory_mb);
  environment["AWS_LAMBDA_INITIALIZATION_TYPE"] = "on-demand";
  environment["AWS_REGION"] = settings.region;
  environment["AWS_DEFAULT_REGION"] = settings.region;
  environment["LAMBDA_TASK_ROOT"] = settings.code.string();
  environment["_HANDLER"] = settings.handler;
  environment["LANG"] = "en_US.UTF-8";
  environment["TZ"] = ":UTC";
  environment.try_emplace("PATH", "/usr/local/bin:/usr/bin:/bin");
  return environment;
}

SandboxSpec spec_of(const InstanceSettings& settings) {
  SandboxSpec spec;
  spec.program = settings.code / "bootstrap";
  spec.environment = environment_of(settings);
  spec.working_folder = settings.code;
  spec.writable = settings.writable;
  spec.readable = settings.readable;
  spec.memory_bytes = settings.memory_bytes;
  spec.cpus = settings.cpus;
  spec.tmp_bytes = settings.tmp_bytes;
  spec.listen = {kRuntimePort};
  spec.address_variables = {{"AWS_LAMBDA_RUNTIME_API", 0}};
  return spec;
}

/// What the platform says of a process that ended while an event was under way.
lambda::FunctionError death_of(const std::string& request_id, const Sandbox::End& end) {
  if (end.out_of_memory) return lambda::out_of_memory_error(request_id);
  if (end.signal != 0) return lambda::killed_error(request_id, end.signal);
  return lambda::exited_error(request_id, end.exit_code);
}

std::string_view status_of(FunctionInstance::Outcome::How how) {
  using How = FunctionInstance::Outcome::How;
  if (how == How::kAnswered) return "";
  return how == How::kTimedOut ? "timeout" : "error";
}

}  // namespace

FunctionInstance::FunctionInstance(boost::asio::io_context& context, SandboxMaker& sandboxes, InstanceSettings settings,
                                   Changed changed)
    : context_(context),
      settings_(std::move(settings)),
      changed_(std::move(changed)),
      output_(context),
      ended_(context),
      timer_(context),
      output_timer_(context),
      memory_timer_(context),
      end_timer_(context),
      memory_is_watched_(sandboxes.powers().memory == "watched") {
  log_file_ = ::open(settings_.log.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  if (log_file_ < 0) throw system_error("cannot write " + settings_.log.string(), errno);
  try {
    const bool has_network = !sandboxes.powers().network.empty();
    auto spec = spec_of(settings_);
    for (const auto& service : settings_.services) {
      if (!has_network) break;
      spec.listen.push_back(service.port);
      spec.listen_hosts.push_back(service.host == "localhost" ? "127.0.0.1" : service.host);
    }
    sandbox_ = sandboxes.start(spec);
    server_ = std::make_unique<HttpServer>(
        context_, sandbox_->take_listener(0),
        HttpServer::Options{.limits = {.body_bytes = lambda::kMostResponseBytes + 1024}, .most_connections = 64},
        [this](HttpRequest request, const HttpReply& reply) { serve(std::move(request), reply); });
    for (std::size_t i = 0; has_network && i < settings_.services.size(); ++i) {
      relays_.push_back(std::make_unique<TcpRelay>(context_, sandbox_->take_listener(i + 1), settings_.services[i]));
    }
    output_.assign(duplicate(sandbox_->output_descriptor()));
    ended_.assign(duplicate(sandbox_->end_descriptor()));
  } catch (...) {
    ::close(log_file_);
    throw;
  }
  watch_output();
  watch_end();
  if (memory_is_watched_) watch_memory();
  start_timer(lambda::kInitTimeout);
}

FunctionInstance::~FunctionInstance() {
  *alive_ = false;
  server_.reset();
  relays_.clear();
  sandbox_.reset();
  ::close(log_file_);
}

std::vector<pid_t> FunctionInstance::processes() const { return gone_ ? std::vector<pid_t>() : sandbox_->processes(); }

void FunctionInstance::kill() noexcept { sandbox_->kill(); }

void FunctionInstance::retire() {
  check(idle(), "an instance that works is not retired");
  end(Outcome::How::kExited, "");
}

void FunctionInstance::invoke(std::string request_id, std::string payload, Finished finished) {
  check(idle(), "an instance takes one event at a time");
  event_ = {.request_id = std::move(request_id), .payload = std::move(payload), .finished = std::move(finished)};
  // Whoever waited may have hung up.
  if (next_ && next_->gone()) next_.reset();
  if (next_) {
    deliver();
  } else if (initialised_) {
    start_timer(settings_.timeout);  // it may never ask
  }
}

void FunctionInstance::deliver() {
  auto& event = *event_;
  event.is_delivered = true;
  event.delivered = Clock::now();
  log(lambda::start_line(event.request_id));
  start_timer(settings_.timeout);
  const auto deadline =
      std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now() + settings_.timeout);
  std::exchange(next_, std::nullopt)
      ->send({200,
              {{"Content-Type", "application/json"},
               {"Lambda-Runtime-Aws-Request-Id", event.request_id},
               {"Lambda-Runtime-Deadline-Ms", std::to_string(deadline.time_since_epoch().count())},
               {"Lambda-Runtime-Invoked-Function-Arn", settings_.arn}},
              std::move(event.payload)});
}

void FunctionInstance::serve(HttpRequest request, const HttpReply& reply) {
  if (over_) return;
  auto path = path_of(request.target);
  if (!path.starts_with(kRuntime)) {
    reply.send(runtime_error(404, "InvalidPath", "this is the Lambda Runtime API, version 2018-06-01"));
    return;
  }
  path.remove_prefix(kRuntime.size());
  const bool is_get = request.method == "GET";
  const bool is_post = request.method == "POST";
  constexpr std::string_view kInvocation = "invocation/";
  if (path == "invocation/next" && is_get) {
    serve_next(reply);
  } else if (path == "init/error" && is_post) {
    reply.send(json_response(202, {{"status", "OK"}}));
    end(Outcome::How::kError, std::move(request.body));
  } else if (path.starts_with(kInvocation) && is_post && (path.ends_with("/response") || path.ends_with("/error"))) {
    const bool is_error = path.ends_with("/error");
    const std::string id(path.substr(kInvocation.size(), path.rfind('/') - kInvocation.size()));
    serve_result(id, is_error, std::move(request), reply);
  } else {
    reply.send(runtime_error(is_get || is_post ? 404 : 405, "InvalidPath", "no such operation"));
  }
}

void FunctionInstance::serve_next(const HttpReply& reply) {
  const bool busy = event_ && event_->is_delivered;
  if (busy || (next_ && !next_->gone())) {
    reply.send(runtime_error(403, "InvalidStateTransition", "an event is under way, or is waited for already"));
    return;
  }
  if (!std::exchange(initialised_, true)) init_ = Clock::now() - started_;
  stop_timer();
  next_ = reply;
  if (event_) {
    deliver();
    return;
  }
  idle_since_ = Clock::now();
  changed_();
}

void FunctionInstance::serve_result(const std::string& request_id, bool is_error, HttpRequest request,
                                    const HttpReply& reply) {
  if (!event_ || !event_->is_delivered || event_->request_id != request_id) {
    reply.send(runtime_error(400, "InvalidRequestID", "no such event is under way: " + request_id));
    return;
  }
  if (request.body.size() > lambda::kMostResponseBytes) {
    reply.send(runtime_error(413, "RequestEntityTooLarge",
                             fmt::format("answers end at {} bytes", lambda::kMostResponseBytes)));
    finish(Outcome::How::kTooLarge,
           encode(lambda::FunctionError{
               "Function.ResponseSizeTooLarge",
               fmt::format("Response payload size exceeded maximum allowed payload size ({} bytes).",
                           lambda::kMostResponseBytes),
               {}}));
    return;
  }
  reply.send(json_response(202, {{"status", "OK"}}));
  finish(is_error ? Outcome::How::kError : Outcome::How::kAnswered, std::move(request.body));
}

void FunctionInstance::finish(Outcome::How how, std::string body) {
  const auto now = Clock::now();
  stop_timer();
  read_output();
  auto& event = *event_;
  const auto usage = sandbox_->usage();
  Outcome outcome{.how = how, .body = std::move(body), .log_tail = "", .bill = {}};
  auto& bill = outcome.bill;
  using std::chrono::ceil, std::chrono::duration_cast, std::chrono::microseconds, std::chrono::milliseconds;
  bill.request_id = event.request_id;
  if (event.is_delivered) bill.duration = duration_cast<microseconds>(now - event.delivered);
  if (std::exchange(first_, false)) {
    bill.init = duration_cast<microseconds>(initialised_ ? init_ : now - started_);
  }
  // The start of a custom runtime is billed (AWS, since August 2025 for all runtimes).
  bill.billed = ceil<milliseconds>(bill.duration + bill.init);
  bill.memory_bytes = settings_.memory_bytes;
  bill.peak_memory_bytes = std::min(usage.peak_memory_bytes, settings_.memory_bytes);
  log(lambda::end_line(event.request_id));
  log(lambda::report_line({.bill = bill,
                           .status = std::string(status_of(how)),
                           .error_type = how == Outcome::How::kAnswered || how == Outcome::How::kTimedOut
                                             ? ""
                                             : lambda::decode_function_error(outcome.body).error_type}));
  outcome.log_tail = lambda::tail_of(event.log);
  auto finished = std::move(event.finished);
  event_.reset();
  idle_since_ = now;
  if (!over_) start_timer(settings_.timeout);  // until it asks for the next one
  boost::asio::post(context_, [finished = std::move(finished), outcome = std::move(outcome)]() mutable {
    finished(std::move(outcome));
  });
}

void FunctionInstance::end(Outcome::How how, std::string body) {
  if (std::exchange(over_, true)) return;
  stop_timer();
  memory_timer_.cancel();
  sandbox_->kill();
  if (event_) finish(how, std::move(body));
  changed_();
}

void FunctionInstance::start_timer(std::chrono::nanoseconds time) {
  timer_.expires_after(time);
  timer_.async_wait([this, alive = alive_, time, turn = ++timer_turn_](const boost::system::error_code& error) {
    if (error || !*alive || over_ || turn != timer_turn_) return;
    const auto said = lambda::timed_out_error(event_ ? event_->request_id : std::string(),
                                              std::chrono::duration_cast<std::chrono::milliseconds>(time));
    log(event_ ? said.error_message + "\n" : "The function has not asked for its next event in time, and is ended\n");
    end(Outcome::How::kTimedOut, encode(said));
  });
}

void FunctionInstance::stop_timer() noexcept {
  ++timer_turn_;
  timer_.cancel();
}

void FunctionInstance::watch_output() {
  output_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                     [this, alive = alive_](const boost::system::error_code& error) {
                       if (error || !*alive || !output_.is_open()) return;
                       read_output();
                       if (!output_.is_open()) return;
                       if (logged_ < kMostLogBytes) return watch_output();
                       output_timer_.expires_after(kFullLogPause);
                       output_timer_.async_wait([this, alive](const boost::system::error_code& stopped) {
                         if (!stopped && *alive && output_.is_open()) watch_output();
                       });
                     });
}

void FunctionInstance::read_output() {
  char buffer[16 << 10];
  for (std::size_t total = 0; output_.is_open() && total < kReadTurn;) {
    const auto count = ::read(output_.native_handle(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (count <= 0) {
      boost::system::error_code ignored;
      output_.close(ignored);
      return;
    }
    log_output({buffer, static_cast<std::size_t>(count)});
    total += static_cast<std::size_t>(count);
  }
}

/// What the platform says.
void FunctionInstance::log(std::string_view text) {
  keep_for_tail(text);
  write_log(text);
}

/// What the function says.
void FunctionInstance::log_output(std::string_view text) {
  keep_for_tail(text);
  if (logged_ >= kMostLogBytes) return;
  const auto part = text.substr(0, kMostLogBytes - logged_);
  logged_ += part.size();
  write_log(part);
  if (logged_ < kMostLogBytes) return;
  write_log(
      fmt::format("\nLOG CUT: the {} MiB of an instance's log are full; what the function writes from here on is "
                  "left out\n",
                  kMostLogBytes >> 20U));
}

void FunctionInstance::keep_for_tail(std::string_view text) {
  if (!event_) return;
  auto& kept = event_->log;
  kept += text;
  if (kept.size() > 2 * kLogKept) kept.erase(0, kept.size() - kLogKept);
}

void FunctionInstance::write_log(std::string_view text) noexcept {
  // A full disk must not end a function: the tail still reaches who invoked it.
  while (!text.empty()) {
    const auto count = ::write(log_file_, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

void FunctionInstance::watch_end() {
  ended_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                    [this, alive = alive_](const boost::system::error_code& error) {
                      if (!error && *alive) on_end();
                    });
}

void FunctionInstance::watch_memory() {
  memory_timer_.expires_after(kMemoryLook);
  memory_timer_.async_wait([this, alive = alive_](const boost::system::error_code& error) {
    if (error || !*alive || over_) return;
    (void)sandbox_->usage();
    watch_memory();
  });
}

void FunctionInstance::on_end() {
  const auto how = sandbox_->ended();
  if (!how) {
    end_timer_.expires_after(kDyingLook);
    end_timer_.async_wait([this, alive = alive_](const boost::system::error_code& error) {
      if (!error && *alive) on_end();
    });
    return;
  }
  gone_ = true;
  read_output();
  output_timer_.cancel();
  if (over_) return changed_();
  const auto said = death_of(event_ ? event_->request_id : std::string(), *how);
  log(said.error_message + "\n");
  end(how->out_of_memory ? Outcome::How::kOutOfMemory : Outcome::How::kExited, encode(said));
}

}  // namespace virga
