#include "virga/storage/s3_calls.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <mutex>
#include <numeric>
#include <stop_token>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "virga/base/hash.h"
#include "virga/base/random.h"
#include "virga/net/http_client.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using WallClock = std::chrono::system_clock;

constexpr unsigned long long kMostReserve = 64ULL << 20U;  // before any of it has arrived
constexpr std::size_t kMostRefusalBytes = std::size_t{64} << 10;
/// Bodies are bounded where they are taken.
constexpr HttpLimits kS3Limits{.header_bytes = std::size_t{32} << 10, .body_bytes = std::size_t{1} << 40};

std::uint64_t bytes_of(const S3Request& request) noexcept {
  std::uint64_t bytes = 0;
  for (const auto part : request.body) bytes += part.size();
  return bytes;
}

bool is_write(const S3Request& request) noexcept {
  return request.method == "PUT" || request.method == "POST" || request.of_bucket;
}

std::string remedy_for(ErrorKind kind, const S3Refusal& refusal) {
  if (refusal.code == "NoSuchBucket") return "create the bucket (aws s3 mb s3://NAME), or check its name";
  if (refusal.code == "ExpiredToken") return "renew the credentials";
  if (!refusal.region.empty() && kind == ErrorKind::kUsage) {
    return fmt::format("the bucket is in another region: set AWS_REGION={}, or write ?region={}", refusal.region,
                       refusal.region);
  }
  switch (kind) {
    case ErrorKind::kUnauthorized:
      return "check the access key, its secret, what it may do, and the region";
    case ErrorKind::kThrottled:
      return "use fewer functions, or spread the work over more prefixes";
    case ErrorKind::kUnavailable:
      return "see whether the service is well, and try again";
    case ErrorKind::kUsage:
      return "check the bucket's name, the region and the endpoint";
    case ErrorKind::kIo:
      return "the service has no room left";
    default:
      return "";
  }
}

/// "Sun, 22 Nov 2026 01:29:31 GMT" (RFC 9110).
std::optional<WallClock::time_point> parse_http_date(const std::string& text) {
  std::tm date{};
  const char* end = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &date);
  if (end == nullptr || *end != '\0') return {};
  return WallClock::from_time_t(::timegm(&date));
}

/// As S3 has it: the most significant byte first.
std::string crc32c_base64(std::span<const ByteView> parts) {
  std::uint32_t crc = 0;
  for (const auto part : parts) crc = crc32c(part, crc);
  std::string bytes;
  for (const unsigned shift : {24U, 16U, 8U, 0U}) bytes += static_cast<char>(crc >> shift & 0xFFU);
  return base64_encode(bytes);
}

Error interrupted_call() { return {ErrorKind::kInterrupted, "it is no longer wanted"}; }

struct Counters {
  std::atomic<std::uint64_t> writes = 0, reads = 0, deletes = 0, retries = 0, throttled = 0, sent = 0, received = 0;

  [[nodiscard]] S3Client::Counts all() const noexcept {
    return {.writes = writes,
            .reads = reads,
            .deletes = deletes,
            .retries = retries,
            .throttled = throttled,
            .bytes_sent = sent,
            .bytes_received = received};
  }
};
Counters of_process;

}  // namespace

/// What is under way lives on the thread that runs the context.
class S3Calls::Impl {
 public:
  struct Batch;
  /// One request of a batch.
  struct Task {
    Task(boost::asio::io_context& context, std::shared_ptr<Batch> its_batch, const S3Request& its_request,
         S3Answer& its_answer)
        : batch(std::move(its_batch)), request(its_request), answer(its_answer), timer(context) {}
    const std::shared_ptr<Batch> batch;
    // These two are the caller's, and gone once the batch is done.
    const S3Request& request;
    S3Answer& answer;
    std::string body_sha256;  // empty: the signature is not over the body
    std::string body_crc32c;  // of a whole object
    std::uint64_t body_bytes = 0;
    std::uint64_t number = 0;  // for the jitter
    boost::asio::steady_timer timer;
    HttpClient::Ticket ticket;
    unsigned attempts = 0;
    bool is_clock_mended = false;
    std::optional<Error> failed_before;
    S3Refusal refused_before;
    std::string refusal_body;
  };
  using TaskPointer = std::shared_ptr<Task>;

  /// What one perform() waits for.
  struct Batch {
    Batch(Credentials its_credentials, Deadline its_deadline)
        : credentials(std::move(its_credentials)), deadline(its_deadline) {}
    const Credentials credentials;
    const Deadline deadline;
    // Of the context's thread, once the batch has begun.
    std::vector<TaskPointer> tasks;
    std::deque<TaskPointer> waiting;
    std::size_t under_way = 0;
    bool is_stopped = false;

    std::mutex mutex;  // guards `left`
    std::condition_variable done;
    std::size_t left = 0;
  };

  explicit Impl(S3Client::Options given)
      : options(std::move(given)),
        http_(std::make_unique<HttpClient>(
            context_, options.place.endpoint.address,
            HttpClient::Options{.limits = kS3Limits, .most_idle = options.most_under_way, .connect_time = 5s})),
        work_(boost::asio::make_work_guard(context_)),
        thread_([this] { context_.run(); }) {}

  ~Impl() {
    boost::asio::post(context_, [this] {
      is_closing_ = true;
      http_.reset();
    });
    work_.reset();
    thread_.join();
  }

  /// Of those requests whose numbers are in `which`.
  void perform(std::span<const S3Request> requests, std::span<const std::size_t> which, std::vector<S3Answer>& answers,
               const Credentials& credentials, const Wait& wait) {
    auto batch = std::make_shared<Batch>(credentials, wait.deadline);
    for (const auto i : which) {
      answers[i] = {};
      auto task = std::make_shared<Task>(context_, batch, requests[i], answers[i]);
      task->number = next_number_++;
      // Here, so that several threads do it at once.
      const bool is_whole_object = requests[i].method == "PUT" && requests[i].query.empty();
      if (is_whole_object) task->body_crc32c = crc32c_base64(requests[i].body);
      if (!is_whole_object || options.place.signs_bodies) task->body_sha256 = sha256_hex(requests[i].body);
      task->body_bytes = bytes_of(requests[i]);
      batch->tasks.push_back(std::move(task));
    }
    batch->left = batch->tasks.size();
    boost::asio::post(context_, [this, batch] {
      batch->waiting.assign(batch->tasks.begin(), batch->tasks.end());
      start_some(*batch);
    });
    const std::stop_callback on_stop(wait.stop,
                                     [this, batch] { boost::asio::post(context_, [this, batch] { stop(*batch); }); });
    std::unique_lock lock(batch->mutex);
    batch->done.wait(lock, [&] { return batch->left == 0; });
  }

  const S3Client::Options options;
  Counters counters;

 private:
  void enqueue(const TaskPointer& task) {
    task->batch->waiting.push_back(task);
    start_some(*task->batch);
  }

  void start_some(Batch& batch) {
    while (batch.under_way < options.most_under_way && !batch.waiting.empty()) {
      const auto task = std::move(batch.waiting.front());
      batch.waiting.pop_front();
      attempt(task);
    }
  }

  /// Those that wait for their turn end as they get it.
  void stop(Batch& batch) {
    batch.is_stopped = true;
    const auto tasks = batch.tasks;  // which may come to its end meanwhile
    for (const auto& task : tasks) {
      task->timer.cancel();
      HttpClient::cancel(task->ticket);
    }
  }

  HttpRequest signed_request(Task& task) {
    const auto& asked = task.request;
    auto target = asked.of_bucket ? options.place.bucket_path() : options.place.path_of(asked.key);
    if (!asked.query.empty()) target += "?" + asked.query;
    HttpRequest request{.method = asked.method, .target = std::move(target), .headers = asked.headers, .body = {}};
    request.headers.push_back({.name = "Host", .value = options.place.endpoint.host});
    if (!task.body_crc32c.empty()) {
      request.headers.push_back({.name = "x-amz-checksum-crc32c", .value = task.body_crc32c});
    }
    // That it arrives whole its checksum says, which is signed; nobody can change it on purpose within TLS.
    if (task.body_sha256.empty()) {
      request.headers.push_back({.name = "X-Amz-Content-Sha256", .value = std::string(kUnsignedPayload)});
    }
    sign(request, task.body_sha256, task.batch->credentials, {.region = options.place.region, .service = "s3"},
         options.now() + clock_offset_.load(), SigV4Path::kAsSent);
    return request;
  }

  void attempt(const TaskPointer& task) {
    if (is_closing_ || task->batch->is_stopped) return end(task, interrupted_call());
    if (task->batch->deadline.passed()) return end(task, too_late(*task));
    ++task->batch->under_way;
    count(*task);
    auto& answer = task->answer;
    answer.body.clear();
    answer.body_bytes = 0;
    answer.refusal = {};
    task->refusal_body.clear();
    const auto time = options.attempt_time + std::chrono::microseconds(task->body_bytes + task->request.into.size());
    HttpClient::Extras extras{
        .body = task->request.body,
        .on_body = [task](const HttpResponse& head, std::string_view piece) { take(*task, head, piece); }};
    try {
      task->ticket = http_->send(
          signed_request(*task), std::move(extras), std::min(task->batch->deadline, Deadline::in(time)),
          /*may_repeat=*/true, [this, task](HttpClient::Outcome outcome) { answered(task, std::move(outcome)); });
    } catch (const Error& error) {
      --task->batch->under_way;
      end(task, Error(error.kind(), error.what(), error.remedy()));
    }
  }

  void add(std::atomic<std::uint64_t> Counters::*which, std::uint64_t count = 1) {
    counters.*which += count;
    of_process.*which += count;
  }
  void count(Task& task) {
    add(task.request.method == "DELETE" ? &Counters::deletes
        : is_write(task.request)        ? &Counters::writes
                                        : &Counters::reads);
    if (++task.attempts > 1) add(&Counters::retries);
  }

  /// A piece of an answer's body.
  static void take(Task& task, const HttpResponse& head, std::string_view piece) {
    if (head.status >= 300) {
      const auto room = kMostRefusalBytes - std::min(kMostRefusalBytes, task.refusal_body.size());
      task.refusal_body.append(piece.substr(0, room));
      return;
    }
    auto& answer = task.answer;
    const auto into = task.request.into;
    if (!into.empty()) {
      if (piece.size() > into.size() - answer.body_bytes) {
        throw Error(ErrorKind::kBadData, "the service sends more than it was asked for",
                    "check that the endpoint is that of an S3 service");
      }
      std::memcpy(into.data() + answer.body_bytes, piece.data(), piece.size());
    } else {
      if (answer.body_bytes == 0) reserve(task, head);
      if (piece.size() > task.request.limit - answer.body_bytes) throw too_large(task);
      const auto bytes = as_bytes(piece);
      answer.body.insert(answer.body.end(), bytes.begin(), bytes.end());
    }
    answer.body_bytes += piece.size();
  }

  static void reserve(Task& task, const HttpResponse& head) {
    const auto* text = find_header(head.headers, "Content-Length");
    if (text == nullptr) return;
    const auto length = std::strtoull(text->c_str(), nullptr, 10);
    if (length > task.request.limit) throw too_large(task);
    task.answer.body.reserve(std::min(length, kMostReserve));
  }

  static Error too_large(const Task& task) {
    return {ErrorKind::kTooLarge, fmt::format("it has more than {} bytes", task.request.limit)};
  }

  void answered(const TaskPointer& task, HttpClient::Outcome outcome) {
    const auto batch = task->batch;
    --batch->under_way;
    auto& answer = task->answer;
    std::optional<Error> error = std::move(outcome.error);
    if (outcome.response) {
      answer.head = std::move(*outcome.response);
      if (answer.head.status >= 300) {
        answer.refusal = read_s3_refusal(answer.head, task->refusal_body);
        const auto kind = kind_of(answer.refusal);
        error.emplace(kind, words_of(answer.refusal), remedy_for(kind, answer.refusal));
      } else if (is_damaged(*task)) {
        error.emplace(ErrorKind::kUnavailable, "what has arrived does not have the checksum that the service gives",
                      "try again, or store the object anew");
      }
    }
    if (!error) {
      add(&Counters::sent, task->body_bytes);
      if (!task->request.of_bucket) add(&Counters::received, answer.body_bytes);
      end(task, {});
    } else {
      if (error->kind() == ErrorKind::kThrottled) add(&Counters::throttled);
      const bool may_have_worked = outcome.response ? answer.head.status >= 500 : outcome.sent;
      answer.worked_before = answer.worked_before || may_have_worked;
      if (mend_clock(*task)) {
        enqueue(task);
      } else {
        fail(task, *std::move(error));
      }
    }
    start_some(*batch);
  }

  static bool is_damaged(const Task& task) {
    const auto* given = find_header(task.answer.head.headers, "x-amz-checksum-crc32c");
    constexpr std::size_t kWhole = 8;  // that of an object in parts is longer, and another kind
    if (given == nullptr || given->size() != kWhole || task.answer.head.status != 200 || task.request.method != "GET") {
      return false;
    }
    const ByteView body = task.request.into.empty() ? ByteView(task.answer.body) : ByteView(task.request.into);
    return crc32c_base64({&body, 1}) != *given;
  }

  /// Does another attempt make sense because the service's clock is used from now on?
  bool mend_clock(Task& task) {
    if (task.answer.refusal.code != "RequestTimeTooSkewed" || std::exchange(task.is_clock_mended, true)) return false;
    const auto* date = find_header(task.answer.head.headers, "Date");
    const auto time = date == nullptr ? std::nullopt : parse_http_date(*date);
    if (!time) return false;
    clock_offset_ = *time - options.now();
    return true;
  }

  void fail(const TaskPointer& task, Error error) {
    if (is_closing_ || task->batch->is_stopped) return end(task, interrupted_call());
    const bool is_throttled = error.kind() == ErrorKind::kThrottled;
    const auto pause = pause_after(*task);
    const bool is_last = !is_retryable(error.kind()) || (!is_throttled && task->attempts >= options.most_attempts) ||
                         pause >= task->batch->deadline.remaining();
    if (is_last) {
      // Where time ran out on the last attempt, why those before it failed says more.
      if (error.kind() == ErrorKind::kDeadlineExceeded && task->failed_before) {
        task->answer.refusal = task->refused_before;
        return end(task, *std::move(task->failed_before));
      }
      return end(task, std::move(error));
    }
    task->failed_before.emplace(std::move(error));
    task->refused_before = task->answer.refusal;
    task->timer.expires_after(pause);
    task->timer.async_wait([this, task](const boost::system::error_code&) {
      if (task->batch->is_stopped) return end(task, interrupted_call());
      enqueue(task);
    });
  }

  std::chrono::nanoseconds pause_after(const Task& task) const {
    std::chrono::nanoseconds pause = options.first_pause;
    for (unsigned i = 1; i < task.attempts && pause < options.longest_pause; ++i) pause *= 2;
    pause = std::min<std::chrono::nanoseconds>(pause, options.longest_pause);
    const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
    const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
    const auto word =
        philox4x32({low(task.number), high(task.number), task.attempts, 0}, {low(options.seed), high(options.seed)})[0];
    pause = pause / 2 + std::chrono::duration_cast<std::chrono::nanoseconds>(word * 0x1p-32 * (pause / 2));
    const auto& after = task.answer.refusal.retry_after;
    return after ? std::max(pause, std::chrono::nanoseconds(*after)) : pause;
  }

  static std::string words_of(const S3Refusal& refusal) {
    return fmt::format("{} {}{}", refusal.status, refusal.code.empty() ? "" : refusal.code + ": ",
                       refusal.message.empty() ? "no reason was given" : refusal.message);
  }

  static Error too_late(Task& task) {
    if (task.failed_before) return *std::move(task.failed_before);
    return {ErrorKind::kDeadlineExceeded, "it was too late to begin"};
  }

  void end(const TaskPointer& task, std::optional<Error> error) {
    if (error) {
      const auto& place = options.place;
      const auto tried = task->attempts > 1 ? fmt::format(" ({} attempts)", task->attempts) : "";
      const auto offset = std::chrono::duration_cast<std::chrono::seconds>(clock_offset_.load()).count();
      const auto clock =
          offset == 0 ? "" : fmt::format(" (this machine's clock differs from the service's by {} s)", -offset);
      const auto key = task->request.of_bucket ? "" : "/" + place.prefix + task->request.key;
      task->answer.error.emplace(error->kind(),
                                 fmt::format("S3 {} s3://{}{} at {}{}: {}{}", task->request.operation, place.bucket,
                                             key, place.endpoint.host, tried, error->what(), clock),
                                 error->remedy());
    }
    const auto batch = task->batch;
    const std::lock_guard lock(batch->mutex);
    if (--batch->left > 0) return;
    batch->tasks.clear();
    batch->done.notify_all();
  }

  boost::asio::io_context context_{1};
  std::atomic<std::uint64_t> next_number_ = 1;
  std::atomic<WallClock::duration> clock_offset_ = WallClock::duration(0);
  // Of the context's thread.
  bool is_closing_ = false;
  std::unique_ptr<HttpClient> http_;

  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::thread thread_;
};

S3Calls::S3Calls(S3Client::Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
S3Calls::~S3Calls() = default;

std::vector<S3Answer> S3Calls::perform(std::span<const S3Request> requests, const Wait& wait) {
  std::vector<S3Answer> answers(requests.size());
  std::vector<std::size_t> which(requests.size());
  std::iota(which.begin(), which.end(), std::size_t{0});
  const auto credentials = impl_->options.credentials->get(wait.deadline);
  impl_->perform(requests, which, answers, credentials, wait);
  std::erase_if(which, [&](std::size_t i) { return answers[i].refusal.code != "ExpiredToken"; });
  if (!which.empty()) {
    impl_->options.credentials->expired(credentials);
    impl_->perform(requests, which, answers, impl_->options.credentials->get(wait.deadline), wait);
  }
  return answers;
}

const S3Client::Options& S3Calls::options() const noexcept { return impl_->options; }

S3Client::Counts S3Calls::counts() const { return impl_->counters.all(); }
ServiceUse S3Calls::used_by_process() noexcept {
  return {.writes = of_process.writes, .reads = of_process.reads, .bytes = of_process.sent + of_process.received};
}

}  // namespace virga
