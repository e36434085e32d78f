#include "virga/channel/dynamo_calls.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <optional>
#include <stop_token>
#include <string_view>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/channel/dynamo_items.h"
#include "virga/channel/pause.h"
#include "virga/net/http_client.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

/// More than the 16 MB of items that an answer has at most, in base64.
constexpr std::string_view kAskForUnits = R"(,"ReturnConsumedCapacity":"TOTAL"})";
constexpr HttpLimits kDynamoLimits{.header_bytes = std::size_t{32} << 10, .body_bytes = std::size_t{64} << 20};

ErrorKind kind_of_refusal(int status, const DynamoRefusal& refusal) {
  const auto is = [&](std::string_view code) { return refusal.code == code; };
  if (is("ProvisionedThroughputExceededException") || is("ThrottlingException") || is("RequestLimitExceeded") ||
      is("LimitExceededException")) {
    return ErrorKind::kThrottled;
  }
  if (is("ResourceNotFoundException")) return ErrorKind::kNotFound;
  if (is("ItemCollectionSizeLimitExceededException")) return ErrorKind::kTooLarge;
  if (is("ValidationException") && refusal.message.find("size has exceeded") != std::string::npos) {
    return ErrorKind::kTooLarge;
  }
  if (status >= 500) return ErrorKind::kUnavailable;
  if (status == 403 || is("UnrecognizedClientException") || is("InvalidSignatureException") ||
      is("AccessDeniedException") || is("ExpiredTokenException") || is("MissingAuthenticationTokenException") ||
      is("IncompleteSignatureException") || is("MissingAuthenticationToken")) {
    return ErrorKind::kUnauthorized;
  }
  return ErrorKind::kUsage;
}

std::string remedy_for(ErrorKind kind, const DynamoRefusal& refusal, const DynamoPlace& place) {
  switch (kind) {
    case ErrorKind::kNotFound:
      return fmt::format(
          "create it: aws dynamodb create-table --table-name {} --billing-mode PAY_PER_REQUEST --attribute-definitions "
          "AttributeName=p,AttributeType=S AttributeName=s,AttributeType=S --key-schema AttributeName=p,KeyType=HASH "
          "AttributeName=s,KeyType=RANGE --region {}",
          place.table, place.region);
    case ErrorKind::kUnauthorized:
      if (refusal.code == "ExpiredTokenException") return "renew the credentials";
      if (refusal.message.find("Signature") != std::string::npos) {
        return "check the secret key, the region, and this machine's clock";
      }
      return "check the access key, its secret, what it may do, and the region";
    case ErrorKind::kThrottled:
      return "give the table more capacity (PAY_PER_REQUEST), or use fewer functions";
    case ErrorKind::kUnavailable:
      return "see whether the service is well, and try again";
    case ErrorKind::kUsage:
      return "check that the table has the keys p and s, both text, and that the endpoint is one of DynamoDB";
    default:
      return "";
  }
}

}  // namespace

class DynamoCalls::Impl {
 public:
  /// One attempt at some requests, which a caller waits for.
  struct Attempt {
    std::mutex mutex;  // guards all that follows
    std::condition_variable done;
    std::size_t left = 0;
    std::vector<HttpClient::Ticket> tickets;
  };
  /// What came of one request.
  struct Outcome {
    std::optional<Error> error;
    bool may_have_worked = false;
    bool has_expired = false;  // the credentials
  };

  explicit Impl(Options given)
      : options(std::move(given)),
        http_(std::make_unique<HttpClient>(
            context_, options.place.endpoint.address,
            HttpClient::Options{.limits = kDynamoLimits, .most_idle = options.most_under_way, .connect_time = 5s})),
        work_(boost::asio::make_work_guard(context_)),
        thread_([this] { context_.run(); }) {}
  ~Impl() {
    boost::asio::post(context_, [this] { http_.reset(); });
    work_.reset();
    thread_.join();
  }

  /// Sends those requests whose numbers are in `which`, at most most_under_way at a time, and waits for their ends.
  void attempt(std::span<const DynamoRequest> requests, std::span<const std::size_t> which,
               const Credentials& credentials, std::vector<DynamoAnswer>& answers, std::vector<Outcome>& outcomes,
               const Wait& wait) {
    while (!which.empty()) {
      const auto some = which.first(std::min(which.size(), options.most_under_way));
      which = which.subspan(some.size());
      const auto state = std::make_shared<Attempt>();
      state->left = some.size();
      state->tickets.resize(some.size());
      for (std::size_t i = 0; i < some.size(); ++i) {
        start(requests[some[i]], credentials, answers[some[i]], outcomes[some[i]], state, i, wait.deadline);
      }
      const std::stop_callback on_stop(wait.stop, [this, state] {
        boost::asio::post(context_, [state] {
          std::vector<HttpClient::Ticket> tickets;
          {
            const std::lock_guard lock(state->mutex);
            tickets = state->tickets;
          }
          for (const auto& ticket : tickets) HttpClient::cancel(ticket);
        });
      });
      std::unique_lock lock(state->mutex);
      state->done.wait(lock, [&] { return state->left == 0; });
    }
  }

  std::chrono::nanoseconds pause_after(unsigned attempt) {
    std::chrono::nanoseconds pause = options.first_pause;
    for (unsigned i = 1; i < attempt && pause < options.longest_pause; ++i) pause *= 2;
    pause = std::min<std::chrono::nanoseconds>(pause, options.longest_pause);
    const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
    const auto word = philox4x32({low(++pauses_), 0, attempt, 0}, {low(options.seed), low(options.seed >> 32U)})[0];
    return pause / 2 + std::chrono::duration_cast<std::chrono::nanoseconds>(word * 0x1p-32 * (pause / 2));
  }

  const Options options;
  std::atomic<std::uint64_t> sent = 0, retries = 0, throttled = 0, write_units = 0, read_units = 0;

 private:
  void start(const DynamoRequest& asked, const Credentials& credentials, DynamoAnswer& answer, Outcome& outcome,
             const std::shared_ptr<Attempt>& state, std::size_t index, Deadline deadline) {
    check(asked.body.ends_with('}'), "a request of DynamoDB is an object");
    const std::array<ByteView, 2> body = {as_bytes(asked.body).first(asked.body.size() - 1), as_bytes(kAskForUnits)};
    HttpRequest request{.method = "POST", .target = "/", .headers = {}, .body = {}};
    request.headers.push_back({.name = "Host", .value = options.place.endpoint.host});
    request.headers.push_back({.name = "Content-Type", .value = "application/x-amz-json-1.0"});
    request.headers.push_back({.name = "X-Amz-Target", .value = fmt::format("DynamoDB_20120810.{}", asked.operation)});
    sign(request, sha256_hex(body), credentials, {.region = options.place.region, .service = "dynamodb"},
         options.now());
    ++sent;
    const auto time = options.attempt_time + std::chrono::microseconds(asked.body.size());
    const auto ended = [this, &asked, &answer, &outcome, state](HttpClient::Outcome came) {
      take(asked, std::move(came), answer, outcome);
      const std::lock_guard lock(state->mutex);
      if (--state->left == 0) state->done.notify_all();
    };
    auto ticket = http_->send(std::move(request), {.body = {body.begin(), body.end()}, .on_body = {}},
                              std::min(deadline, Deadline::in(time)), asked.may_repeat, ended);
    const std::lock_guard lock(state->mutex);
    state->tickets[index] = std::move(ticket);
  }

  /// On the context's thread.
  void take(const DynamoRequest& asked, HttpClient::Outcome came, DynamoAnswer& answer, Outcome& outcome) {
    outcome = {};
    if (came.error) {
      outcome.may_have_worked = came.sent;
      outcome.error.emplace(came.error->kind(), named(asked, came.error->what()), came.error->remedy());
      return;
    }
    answer.body = std::move(came.response->body);
    const int status = came.response->status;
    if (status == 200) return count_units(asked, answer, outcome);
    const auto refusal = read_dynamo_refusal(answer.body);
    answer.body.clear();
    if (refusal.code == "ConditionalCheckFailedException") {
      answer.condition_failed = true;
      return;
    }
    const auto kind = kind_of_refusal(status, refusal);
    if (kind == ErrorKind::kThrottled) ++throttled;
    outcome.may_have_worked = status >= 500;
    outcome.has_expired = refusal.code == "ExpiredTokenException";
    const auto words = fmt::format("{} {}{}", status, refusal.code.empty() ? "" : refusal.code + ": ",
                                   refusal.message.empty() ? "no reason was given" : refusal.message);
    outcome.error.emplace(kind, named(asked, words), remedy_for(kind, refusal, options.place));
  }

  void count_units(const DynamoRequest& asked, const DynamoAnswer& answer, Outcome& outcome) {
    try {
      const auto units = static_cast<std::uint64_t>(std::ceil(read_consumed_units(answer.body)));
      const std::string_view operation = asked.operation;
      const bool reads = operation == "GetItem" || operation == "BatchGetItem" || operation == "Query";
      (reads ? read_units : write_units) += units;
    } catch (const Error& error) {
      outcome.error.emplace(error.kind(), named(asked, error.what()), error.remedy());
    }
  }

  [[nodiscard]] std::string named(const DynamoRequest& asked, std::string_view words) const {
    return fmt::format("{} at {}: DynamoDB {}: {}", options.place.uri, options.place.endpoint.host, asked.operation,
                       words);
  }

  boost::asio::io_context context_{1};
  std::atomic<std::uint64_t> pauses_ = 0;
  std::unique_ptr<HttpClient> http_;  // of the context's thread; send() of any
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::thread thread_;
};

DynamoCalls::DynamoCalls(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
DynamoCalls::~DynamoCalls() = default;

std::vector<DynamoAnswer> DynamoCalls::perform(std::span<const DynamoRequest> requests, const Wait& wait) {
  throw_if_stopped(impl_->options.place.uri, wait);
  std::vector<DynamoAnswer> answers(requests.size());
  std::vector<Impl::Outcome> outcomes(requests.size());
  std::vector<std::size_t> which(requests.size());
  std::iota(which.begin(), which.end(), std::size_t{0});
  std::vector<std::optional<Error>> failed_before(requests.size());
  bool was_renewed = false;
  for (unsigned attempt = 1;; ++attempt) {
    auto credentials = impl_->options.credentials->get(wait.deadline);
    impl_->attempt(requests, which, credentials, answers, outcomes, wait);
    std::erase_if(which, [&](std::size_t i) { return !outcomes[i].error; });
    if (which.empty()) return answers;
    throw_if_stopped(impl_->options.place.uri, wait);
    const bool has_expired = std::ranges::any_of(which, [&](std::size_t i) { return outcomes[i].has_expired; });
    const bool renew = has_expired && !std::exchange(was_renewed, true);
    if (renew) impl_->options.credentials->expired(credentials);
    const auto pause = impl_->pause_after(attempt);
    for (const auto i : which) {
      const auto& [error, may_have_worked, expired] = outcomes[i];
      const auto kind = error->kind();
      const bool again = (expired && renew) || kind == ErrorKind::kThrottled ||
                         (is_retryable(kind) && attempt < impl_->options.most_attempts &&
                          (requests[i].may_repeat || !may_have_worked));
      if (!again || pause >= wait.deadline.remaining()) {
        // Where time ran out on the last attempt, why the one before it failed says more.
        throw Error(kind == ErrorKind::kDeadlineExceeded && failed_before[i] ? *failed_before[i] : *error);
      }
    }
    for (const auto i : which) failed_before[i].emplace(*outcomes[i].error);
    impl_->retries += which.size();
    if (!renew) virga::pause(pause, wait);
  }
}

DynamoAnswer DynamoCalls::perform(DynamoRequest request, const Wait& wait) {
  return std::move(perform({&request, 1}, wait)[0]);
}

void DynamoCalls::pause_before(unsigned attempt, std::size_t left_undone, const Wait& wait) {
  impl_->throttled += left_undone;
  const auto time = impl_->pause_after(attempt);
  throw_if_stopped(impl_->options.place.uri, wait);
  if (time >= wait.deadline.remaining()) {
    throw Error(ErrorKind::kThrottled,
                fmt::format("{}: DynamoDB left {} items undone, and there is no time to ask again",
                            impl_->options.place.uri, left_undone),
                "give the table more capacity (PAY_PER_REQUEST), or use fewer functions");
  }
  virga::pause(time, wait);
  throw_if_stopped(impl_->options.place.uri, wait);
}

const DynamoCalls::Options& DynamoCalls::options() const noexcept { return impl_->options; }

DynamoCalls::Counts DynamoCalls::counts() const {
  return {.requests = impl_->sent,
          .retries = impl_->retries,
          .throttled = impl_->throttled,
          .units = {.writes = impl_->write_units, .reads = impl_->read_units}};
}

}  // namespace virga
