#include "virga/engine/function_host.h"

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/system_random.h"
#include "virga/engine/lambda_limits.h"
#include "virga/engine/lambda_types.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

/// AWS: one vCPU at 1,769 MB, in proportion below and above.
constexpr double kBytesPerCpu = double{lambda::kMbOfOneCpu} * double{lambda::kMb};
constexpr auto kIdleLook = 1s;
/// Before an Event for which the machine was short of something is tried again.
constexpr auto kShortPause = 1s;
constexpr std::size_t kMostLogs = 1000;

/// The package's program cannot be run: the function's fault, as AWS words it.
FunctionInstance::Outcome cannot_start(const std::string& request_id, std::uint64_t memory_bytes, const Error& error) {
  FunctionInstance::Outcome outcome;
  outcome.how = FunctionInstance::Outcome::How::kExited;
  outcome.body =
      encode(lambda::FunctionError{.error_type = "Runtime.InvalidEntrypoint",
                                   .error_message = fmt::format("RequestId: {} Error: {}", request_id, error.what()),
                                   .stack_trace = {}});
  outcome.bill.request_id = request_id;
  outcome.bill.memory_bytes = memory_bytes;
  return outcome;
}

}  // namespace

std::string new_request_id() {
  std::array<unsigned char, 16> b{};
  fill_with_system_random(std::as_writable_bytes(std::span(b)));
  b[6] = static_cast<unsigned char>((b[6] & 0x0FU) | 0x40U);
  b[8] = static_cast<unsigned char>((b[8] & 0x3FU) | 0x80U);
  std::string text;
  for (std::size_t i = 0; i < b.size(); ++i) {
    text += fmt::format("{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
  }
  return text;
}

struct FunctionHost::Function {
  std::string name;
  std::string arn;
  HostedFunction settings;
  std::filesystem::path code;
  std::optional<unsigned> reserved;
  unsigned retries = 2;
  unsigned busy = 0;
  struct Instance {
    std::unique_ptr<FunctionInstance> instance;
    std::uint64_t version = 0;
  };
  std::list<Instance> instances;
  std::uint64_t version = 0;                   // of its settings
  std::deque<std::shared_ptr<Event>> waiting;  // until there is room for them
};

/// An asynchronous invocation.
struct FunctionHost::Event {
  std::string function;
  std::string request_id;
  std::string payload;
  boost::asio::steady_timer timer;
  Clock::time_point created = Clock::now();
  unsigned attempts = 0;
};

FunctionHost::FunctionHost(boost::asio::io_context& context, Options options)
    : context_(context),
      options_(std::move(options)),
      sandboxes_(options_.sandbox_name, options_.sandbox),
      idle_timer_(context) {
  std::error_code error;
  std::filesystem::create_directories(options_.folder / "logs", error);
  if (error) throw system_error("cannot create " + (options_.folder / "logs").string(), error.value());
  find_logs();
  look_for_idle();
}

FunctionHost::~FunctionHost() {
  *alive_ = false;
  // All at once: each one's destruction waits for its end.
  for (const auto& [name, function] : functions_) {
    for (const auto& one : function->instances) one.instance->kill();
  }
  functions_.clear();
  leaving_.clear();
}

void FunctionHost::put(const std::string& name, const std::string& arn, HostedFunction settings,
                       std::filesystem::path code) {
  auto& function = functions_[name];
  if (!function) {
    function = std::make_shared<Function>();
    function->retries = static_cast<unsigned>(options_.retry_pauses.size());
  } else if (function->code != code) {
    std::error_code ignored;
    std::filesystem::remove_all(function->code, ignored);  // who runs has its program open
  }
  function->name = name;
  function->arn = arn;
  function->code = std::move(code);
  configure(name, std::move(settings));
}

void FunctionHost::configure(const std::string& name, HostedFunction settings) {
  auto& function = *functions_.at(name);
  function.settings = std::move(settings);
  ++function.version;
  changed();
}

void FunctionHost::remove(const std::string& name) {
  const auto at = functions_.find(name);
  if (at == functions_.end()) return;
  for (auto& one : at->second->instances) {
    one.instance->kill();
    leaving_.push_back(std::move(one.instance));
  }
  for (const auto& event : at->second->waiting) forget(*event);
  std::error_code ignored;
  std::filesystem::remove_all(at->second->code, ignored);
  functions_.erase(at);
  changed();
}

std::optional<LambdaRefusal> FunctionHost::reserve(const std::string& name, std::optional<unsigned> concurrency) {
  // AWS leaves 100 of 1,000 unreserved; an engine with fewer leaves as large a part.
  const auto least = std::min(lambda::kLeastUnreservedConcurrency, options_.most_concurrent / 10);
  std::uint64_t reserved = concurrency.value_or(0);
  for (const auto& [other, function] : functions_) {
    if (other != name) reserved += function->reserved.value_or(0);
  }
  if (concurrency.value_or(0) > 0 && reserved + least > options_.most_concurrent) {
    return LambdaRefusal{400, "InvalidParameterValueException",
                         fmt::format("Specified ReservedConcurrentExecutions for function decreases account's "
                                     "UnreservedConcurrentExecution below its minimum value of [{}].",
                                     least)};
  }
  functions_.at(name)->reserved = concurrency;
  changed();
  return std::nullopt;
}
void FunctionHost::limit_retries(const std::string& name, unsigned retries) { functions_.at(name)->retries = retries; }
std::optional<unsigned> FunctionHost::reserved(const std::string& name) const { return functions_.at(name)->reserved; }
unsigned FunctionHost::retries(const std::string& name) const { return functions_.at(name)->retries; }

std::optional<LambdaRefusal> FunctionHost::refusal(const Function& function) const {
  const auto refuse = [](std::string reason, std::string message = "Rate Exceeded.") {
    return LambdaRefusal{429, "TooManyRequestsException", std::move(message), std::move(reason)};
  };
  if (function.reserved && function.busy >= *function.reserved) {
    return refuse("ReservedFunctionConcurrentInvocationLimitExceeded");
  }
  if (busy_ >= options_.most_concurrent) return refuse("ConcurrentInvocationLimitExceeded");
  if (!function.reserved) {
    std::uint64_t taken = 0;  // by reservations, used or not, and by functions without one
    for (const auto& [name, other] : functions_) taken += other->reserved.value_or(other->busy);
    if (taken >= options_.most_concurrent) return refuse("ConcurrentInvocationLimitExceeded");
  }
  if (options_.memory_bytes != 0) {
    std::uint64_t taken = function.settings.memory_bytes;  // by those that are busy, and this one
    for (const auto& [name, other] : functions_) taken += other->busy * other->settings.memory_bytes;
    if (taken > options_.memory_bytes) {
      return refuse(
          "ConcurrentInvocationLimitExceeded",
          fmt::format("Rate Exceeded: functions of {} MB in all would not fit this machine's memory", taken >> 20U));
    }
  }
  return std::nullopt;
}

std::optional<LambdaRefusal> FunctionHost::invoke(const std::string& name, std::string payload, Finished finished) {
  const auto& function = functions_.at(name);
  if (auto refused = refusal(*function)) return refused;
  last_request_id_ = new_request_id();
  run(function, last_request_id_, std::move(payload), std::move(finished));
  return std::nullopt;
}

void FunctionHost::run(const std::shared_ptr<Function>& function, const std::string& request_id, std::string payload,
                       Finished finished) {
  FunctionInstance* instance = nullptr;
  try {
    instance = &instance_for(*function);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kNotFound) throw;
    boost::asio::post(context_, [outcome = cannot_start(request_id, function->settings.memory_bytes, error),
                                 finished = std::move(finished)] { finished(outcome); });
    return;
  }
  ++busy_;
  ++function->busy;
  // A function of the same name may have taken its place by then.
  instance->invoke(
      request_id, std::move(payload),
      [this, alive = alive_, same = std::weak_ptr(function), finished = std::move(finished)](Outcome outcome) {
        if (*alive) {
          --busy_;
          if (const auto still = same.lock()) --still->busy;
          changed();
        }
        finished(std::move(outcome));
      });
}

FunctionInstance& FunctionHost::instance_for(Function& function) {
  // The one that was used last is the warmest, and lets others grow old.
  FunctionInstance* best = nullptr;
  for (const auto& [instance, version] : function.instances) {
    if (version != function.version || !instance->idle()) continue;
    if (best == nullptr || instance->idle_since() > best->idle_since()) best = instance.get();
  }
  if (best != nullptr) return *best;
  const auto& settings = function.settings;
  make_room(settings.memory_bytes);
  InstanceSettings with;
  with.function = function.name;
  with.arn = function.arn;
  with.code = function.code;
  with.log = options_.folder / "logs" / fmt::format("{}-{:06}.log", function.name, ++log_number_);
  with.handler = settings.handler;
  with.environment = settings.environment;
  with.memory_bytes = settings.memory_bytes;
  with.timeout = settings.timeout;
  with.tmp_bytes = settings.tmp_bytes;
  with.cpus = std::min(static_cast<double>(settings.memory_bytes) / kBytesPerCpu, options_.cpus);
  with.writable = options_.writable;
  with.readable = options_.readable;
  with.region = options_.region;
  with.services = options_.services;
  auto instance = std::make_unique<FunctionInstance>(context_, sandboxes_, std::move(with), [this] { changed(); });
  function.instances.push_back({std::move(instance), function.version});
  ++instances_count_;
  return *function.instances.back().instance;
}

void FunctionHost::make_room(std::uint64_t bytes) {
  if (options_.memory_bytes == 0) return;
  for (;;) {
    std::uint64_t taken = bytes;
    FunctionInstance* oldest = nullptr;
    for (const auto& [name, function] : functions_) {
      for (const auto& one : function->instances) {
        if (one.instance->over()) continue;
        taken += one.instance->settings().memory_bytes;
        if (!one.instance->idle()) continue;
        if (oldest == nullptr || one.instance->idle_since() < oldest->idle_since()) oldest = one.instance.get();
      }
    }
    if (taken <= options_.memory_bytes || oldest == nullptr) return;
    oldest->retire();
  }
}

/// Those that an engine before this one has left.
void FunctionHost::find_logs() {
  std::vector<std::pair<std::filesystem::file_time_type, std::filesystem::path>> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(options_.folder / "logs", error)) {
    const auto name = entry.path().stem().string();
    const auto digits = name.substr(name.find_last_not_of("0123456789") + 1);
    if (entry.path().extension() != ".log" || digits.size() < 6 || digits.size() > 18) continue;
    log_number_ = std::max<std::uint64_t>(log_number_, std::stoull(digits));
    found.emplace_back(entry.last_write_time(error), entry.path());
  }
  std::ranges::sort(found);
  for (const auto& [time, path] : found) keep_log(path);
}

void FunctionHost::keep_log(const std::filesystem::path& log) {
  std::error_code error;
  const auto size = std::filesystem::file_size(log, error);
  if (error) return;
  logs_.emplace_back(log, size);
  log_bytes_ += size;
  while (logs_.size() > kMostLogs || log_bytes_ > options_.most_log_bytes) {
    std::filesystem::remove(logs_.front().first, error);
    log_bytes_ -= logs_.front().second;
    logs_.pop_front();
  }
}

std::optional<LambdaRefusal> FunctionHost::enqueue(const std::string& name, const std::string& payload) {
  if (queued_ >= options_.most_queued || queued_bytes_ + payload.size() > options_.most_queued_bytes) {
    return LambdaRefusal{429, "TooManyRequestsException", "Rate Exceeded.", "CallerRateLimitExceeded"};
  }
  last_request_id_ = new_request_id();
  const int copies = options_.doubles_events ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    ++queued_;
    queued_bytes_ += payload.size();
    auto event = std::make_shared<Event>(Event{name, last_request_id_, payload, boost::asio::steady_timer(context_)});
    boost::asio::post(context_, [this, alive = alive_, event] {
      if (*alive) try_event(event);
    });
  }
  return std::nullopt;
}

void FunctionHost::forget(const Event& event) {
  --queued_;
  queued_bytes_ -= event.payload.size();
}

void FunctionHost::try_event(const std::shared_ptr<Event>& event) {
  const auto at = functions_.find(event->function);
  if (at == functions_.end() || Clock::now() - event->created > lambda::kDefaultEventAge) return forget(*event);
  const auto& function = at->second;
  if (refusal(*function)) {
    function->waiting.push_back(event);
    return;
  }
  const auto finished = [this, alive = alive_, event, same = std::weak_ptr(function)](const Outcome& outcome) {
    if (!*alive) return;
    const auto still = same.lock();
    const auto attempt = event->attempts++;
    if (outcome.how == Outcome::How::kAnswered || !still ||
        attempt >= std::min<std::size_t>(still->retries, options_.retry_pauses.size())) {
      return forget(*event);
    }
    again(event, options_.retry_pauses[attempt]);
  };
  try {
    run(function, event->request_id, event->payload, finished);
  } catch (const Error&) {
    again(event, kShortPause);  // as a platform that is short of something would
  }
}

bool FunctionHost::let_go(const FunctionInstance& instance) {
  if (!instance.gone()) return false;
  --instances_count_;
  keep_log(instance.settings().log);
  return true;
}

void FunctionHost::serve_waiting() {
  for (const auto& [name, function] : functions_) {
    // As many as there are now: one for which the machine is short of something comes back later.
    for (auto count = function->waiting.size(); count > 0 && !refusal(*function); --count) {
      const auto event = std::move(function->waiting.front());
      function->waiting.pop_front();
      try_event(event);
    }
  }
}

void FunctionHost::again(const std::shared_ptr<Event>& event, std::chrono::milliseconds pause) {
  event->timer.expires_after(pause);
  event->timer.async_wait([this, alive = alive_, event](const boost::system::error_code& error) {
    if (!error && *alive) try_event(event);
  });
}

std::vector<pid_t> FunctionHost::processes() const {
  std::vector<pid_t> all;
  const auto add = [&](const FunctionInstance& instance) {
    const auto some = instance.processes();
    all.insert(all.end(), some.begin(), some.end());
  };
  for (const auto& [name, function] : functions_) {
    for (const auto& one : function->instances) add(*one.instance);
  }
  for (const auto& instance : leaving_) add(*instance);
  return all;
}

void FunctionHost::changed() noexcept {
  if (std::exchange(cleaning_, true)) return;
  boost::asio::post(context_, [this, alive = alive_] {
    if (*alive) clean();
  });
}

/// Lets go of instances that have ended, ends idle ones that are out of date; then there may be room for who waits.
void FunctionHost::clean() {
  cleaning_ = false;
  for (const auto& [name, function] : functions_) {
    std::erase_if(function->instances, [&, &function = function](const auto& one) {
      auto& instance = *one.instance;
      if (one.version != function->version && instance.idle()) instance.retire();
      return let_go(instance);
    });
  }
  std::erase_if(leaving_, [this](const auto& instance) { return let_go(*instance); });
  serve_waiting();
}

void FunctionHost::look_for_idle() {
  idle_timer_.expires_after(std::min<std::chrono::nanoseconds>(kIdleLook, options_.idle_time));
  idle_timer_.async_wait([this, alive = alive_](const boost::system::error_code& error) {
    if (error || !*alive) return;
    const auto since = Clock::now() - options_.idle_time;
    for (const auto& [name, function] : functions_) {
      for (const auto& one : function->instances) {
        if (one.instance->idle() && one.instance->idle_since() < since) one.instance->retire();
      }
    }
    look_for_idle();
  });
}

}  // namespace virga
