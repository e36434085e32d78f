#include "virga/net/aws_credentials.h"

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <charconv>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/net/aws_profile.h"
#include "virga/net/endpoint.h"
#include "virga/net/http_client.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using WallClock = std::chrono::system_clock;

constexpr auto kContainerHost = "169.254.170.2";
constexpr auto kMetadataHost = "http://169.254.169.254";
constexpr auto kMetadataHostV6 = "http://[fd00:ec2::254]";
constexpr auto kRolePath = "/latest/meta-data/iam/security-credentials/";
constexpr HttpLimits kAnswerLimits{.header_bytes = std::size_t{16} << 10, .body_bytes = std::size_t{64} << 10};
constexpr std::size_t kMostTokenBytes = std::size_t{16} << 10;
constexpr auto kEarly = 5min;       // before they expire, credentials are fetched anew
constexpr auto kNextAttempt = 10s;  // after that has failed, while the old ones are still good

struct Found {
  AwsTemporaryCredentials given;
  std::string source;
};

std::string variable(const Environment& environment, const std::string& name) { return environment(name).value_or(""); }

/// What goes into a header, as it is, and is never repeated in a message.
const std::string& checked_secret(const std::string& value, const std::string& what, char least = '!') {
  const bool is_plain = std::ranges::all_of(value, [&](char c) { return c >= least && c < 0x7F; });
  if (!is_plain || value.size() > kMostTokenBytes) {
    throw Error(ErrorKind::kUsage, what + " has spaces, line ends or other characters that it cannot have",
                "set it anew, without quotes and spaces");
  }
  return value;
}

Credentials checked(Credentials credentials, const std::string& what) {
  checked_secret(credentials.access_key_id, what + ": the access key id");
  checked_secret(credentials.secret_access_key, what + ": the secret access key");
  checked_secret(credentials.session_token, what + ": the session token");
  return credentials;
}

std::optional<Found> from_environment(const Environment& environment) {
  Credentials credentials{.access_key_id = variable(environment, "AWS_ACCESS_KEY_ID"),
                          .secret_access_key = variable(environment, "AWS_SECRET_ACCESS_KEY"),
                          .session_token = variable(environment, "AWS_SESSION_TOKEN")};
  if (credentials.access_key_id.empty() && credentials.secret_access_key.empty()) return {};
  if (credentials.access_key_id.empty() || credentials.secret_access_key.empty()) {
    throw Error(ErrorKind::kUsage,
                fmt::format("{} is set, but {} is not",
                            credentials.access_key_id.empty() ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID",
                            credentials.access_key_id.empty() ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY"),
                "set both or none");
  }
  return Found{.given = {.credentials = checked(std::move(credentials), "the environment"), .expires = {}},
               .source = "the environment"};
}

Error not_built(const std::string& way) {
  return {ErrorKind::kUnsupported, way + ": this way to get AWS credentials is not built",
          "run 'aws configure export-credentials --format env' and set what it prints"};
}

std::optional<Found> from_profile(const Environment& environment) {
  const auto profile = read_aws_profile(environment);
  const auto setting = [&](const std::string& key) {
    const auto at = profile.settings.find(key);
    return at == profile.settings.end() ? std::string() : at->second;
  };
  const auto what = fmt::format("profile {}", profile.name);
  for (const auto* way : {"role_arn", "web_identity_token_file"}) {
    if (!setting(way).empty()) throw not_built(fmt::format("{}: {}", what, way));
  }
  Credentials credentials{.access_key_id = setting("aws_access_key_id"),
                          .secret_access_key = setting("aws_secret_access_key"),
                          .session_token = setting("aws_session_token")};
  if (credentials.access_key_id.empty() != credentials.secret_access_key.empty()) {
    throw Error(ErrorKind::kBadData, fmt::format("{} in {}: one of the two keys is missing", what, profile.where),
                "set aws_access_key_id and aws_secret_access_key");
  }
  if (!credentials.access_key_id.empty()) {
    return Found{.given = {.credentials = checked(std::move(credentials), what), .expires = {}}, .source = what};
  }
  for (const auto* way : {"sso_session", "sso_start_url", "credential_process"}) {
    if (!setting(way).empty()) throw not_built(fmt::format("{}: {}", what, way));
  }
  return {};
}

/// The answer's body. Its text is in no message: it may be what must not be told.
std::string ask(const Endpoint& endpoint, HttpRequest request, const std::string& what, Deadline deadline) {
  request.headers.push_back({.name = "Host", .value = endpoint.host});
  const auto response = http_request(endpoint.address, request, deadline, kAnswerLimits);
  if (response.status == 200) return response.body;
  const bool may_pass = response.status >= 500 || response.status == 429;
  throw Error(may_pass ? ErrorKind::kUnavailable : ErrorKind::kUnauthorized,
              fmt::format("{}: {} {} was answered with status {}", what, request.method, path_of(request.target),
                          response.status),
              "check that this machine or container has a role");
}

std::string container_token(const Environment& environment) {
  const auto file = variable(environment, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
  if (file.empty()) {
    return checked_secret(variable(environment, "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
                          "AWS_CONTAINER_AUTHORIZATION_TOKEN", ' ');
  }
  std::string token(as_text(read_file(file, kMostTokenBytes)));
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  return checked_secret(token, file, ' ');
}

/// Plain HTTP is for this machine and for the addresses that AWS serves to it alone.
bool is_of_this_machine(const std::string& host) {
  boost::system::error_code no_number;
  const auto address = boost::asio::ip::make_address(host, no_number);
  if (no_number) return host == "localhost";
  return address.is_loopback() || host == kContainerHost || host == "169.254.170.23" || host == "fd00:ec2::23";
}

std::optional<Found> from_container(const Environment& environment, std::chrono::milliseconds time, Deadline deadline) {
  const auto relative = variable(environment, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  auto url = variable(environment, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (!relative.empty()) url = fmt::format("http://{}{}", kContainerHost, relative);
  if (url.empty()) return {};
  const std::string what =
      relative.empty() ? "AWS_CONTAINER_CREDENTIALS_FULL_URI" : "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
  const auto scheme = url.find("://");
  const auto slash = url.find_first_of("/?", scheme == std::string::npos ? 0 : scheme + 3);
  const auto endpoint = parse_aws_endpoint(url.substr(0, slash), environment);
  if (!endpoint.address.tls && !is_of_this_machine(endpoint.address.host)) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: {} is not an address of this machine", what, endpoint.host),
                "give http://127.0.0.1:port/path, or https://");
  }
  HttpRequest request{.target = slash == std::string::npos ? "/" : url.substr(slash)};
  if (request.target.front() == '?') request.target.insert(0, "/");
  if (const auto token = container_token(environment); !token.empty()) {
    request.headers.push_back({.name = "Authorization", .value = token});
  }
  const auto until = std::min(deadline, Deadline::in(time));
  return Found{.given = parse_aws_credentials(ask(endpoint, std::move(request), what, until), what),
               .source = "the container's endpoint"};
}

bool is_true(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text == "true";
}

Found from_metadata(const Environment& environment, std::chrono::milliseconds time, Deadline deadline) {
  const auto given = variable(environment, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
  const bool is_v6 = variable(environment, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE") == "IPv6";
  const auto endpoint = parse_endpoint(!given.empty() ? given : is_v6 ? kMetadataHostV6 : kMetadataHost);
  const std::string what = "the metadata service of this machine";
  const auto until = std::min(deadline, Deadline::in(time));
  const auto token = ask(endpoint,
                         {.method = "PUT",
                          .target = "/latest/api/token",
                          .headers = {{.name = "X-aws-ec2-metadata-token-ttl-seconds", .value = "21600"}}},
                         what, until);
  const HttpHeader header{.name = "X-aws-ec2-metadata-token", .value = checked_secret(token, what + ": its token")};
  const auto roles = ask(endpoint, {.target = kRolePath, .headers = {header}}, what, until);
  const auto role = roles.substr(0, roles.find('\n'));
  if (role.empty()) throw Error(ErrorKind::kUnauthorized, what + ": no role is attached to it", "attach one");
  return {.given = parse_aws_credentials(
              ask(endpoint, {.target = kRolePath + percent_encode(role), .headers = {header}}, what, until), what),
          .source = what};
}

Found look_for(const AwsCredentials::Options& options, Deadline deadline) {
  const auto& environment = options.environment;
  if (auto found = from_environment(environment)) return *std::move(found);
  if (!variable(environment, "AWS_WEB_IDENTITY_TOKEN_FILE").empty()) throw not_built("AWS_WEB_IDENTITY_TOKEN_FILE");
  if (auto found = from_profile(environment)) return *std::move(found);
  if (auto found = from_container(environment, options.endpoint_time, deadline)) return *std::move(found);
  std::string why = "AWS_EC2_METADATA_DISABLED is true";
  if (!is_true(variable(environment, "AWS_EC2_METADATA_DISABLED"))) {
    try {
      return from_metadata(environment, options.metadata_time, deadline);
    } catch (const Error& error) {
      if (!variable(environment, "AWS_EC2_METADATA_SERVICE_ENDPOINT").empty()) throw;
      why = error.what();
    }
  }
  throw Error(
      ErrorKind::kUnauthorized,
      fmt::format("no AWS credentials: AWS_ACCESS_KEY_ID is not set; there is no key of profile {} in {}; no "
                  "container's endpoint is named; metadata service: {}",
                  variable(environment, "AWS_PROFILE").empty() ? "default" : variable(environment, "AWS_PROFILE"),
                  read_aws_profile(environment).where, why),
      "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run 'aws configure'");
}

/// "2026-11-22T02:11:11Z", perhaps with parts of a second.
std::optional<WallClock::time_point> parse_time(std::string_view text) {
  const auto number = [&](std::size_t at, std::size_t count, int least, int most) -> std::optional<int> {
    int value = -1;
    const auto* begin = text.data() + at;
    if (std::from_chars(begin, begin + count, value).ptr != begin + count || value < least || value > most) return {};
    return value;
  };
  if (text.size() < 20 || text.size() > 40 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' ||
      text[16] != ':' || text.back() != 'Z') {
    return {};
  }
  const auto year = number(0, 4, 1970, 2200), month = number(5, 2, 1, 12), day = number(8, 2, 1, 31);
  const auto hour = number(11, 2, 0, 23), minute = number(14, 2, 0, 59), second = number(17, 2, 0, 60);
  if (!year || !month || !day || !hour || !minute || !second) return {};
  const std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return {};
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second);
}

}  // namespace

AwsTemporaryCredentials parse_aws_credentials(std::string_view json, const std::string& what) {
  const auto bad = [&](const std::string& why) {
    return Error(ErrorKind::kBadData, fmt::format("{}: its answer is not credentials: {}", what, why),
                 "check what answers there");
  };
  const auto document = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) throw bad("not a JSON object");
  const auto text = [&](const char* name, bool is_needed) -> std::string {
    const auto at = document.find(name);
    if (at == document.end() || at->is_null()) {
      if (is_needed) throw bad(fmt::format("no {}", name));
      return {};
    }
    if (!at->is_string() || (is_needed && at->get_ref<const std::string&>().empty())) {
      throw bad(fmt::format("{} is not a text", name));
    }
    return at->get<std::string>();
  };
  if (const auto code = text("Code", false); !code.empty() && code != "Success") throw bad("it reports a failure");
  AwsTemporaryCredentials result{.credentials = {.access_key_id = text("AccessKeyId", true),
                                                 .secret_access_key = text("SecretAccessKey", true),
                                                 .session_token = text("Token", false)},
                                 .expires = {}};
  result.credentials = checked(std::move(result.credentials), what);
  if (const auto time = text("Expiration", false); !time.empty()) {
    result.expires = parse_time(time);
    if (!result.expires) throw bad("Expiration is not a time such as 2026-11-22T02:11:11Z");
  }
  return result;
}

class AwsCredentials::Impl {
 public:
  explicit Impl(Options options) : options_(std::move(options)) {}

  Credentials get(Deadline deadline) {
    std::unique_lock lock(mutex_);
    if (!free_.wait_until(lock, deadline.at(), [&] { return !is_looking_; })) {
      throw Error(ErrorKind::kDeadlineExceeded, "AWS credentials: another thread was still looking for them");
    }
    const auto now = options_.now();
    if (!found_ || (renew_at_ && now >= *renew_at_)) renew(now, deadline, lock);
    return found_->given.credentials;
  }

  void expired(const Credentials& refused) {
    const std::scoped_lock lock(mutex_);
    if (!found_) return;
    const auto& held = found_->given.credentials;
    if (held.secret_access_key == refused.secret_access_key && held.session_token == refused.session_token) {
      found_.reset();
    }
  }

  std::string source() const {
    const std::scoped_lock lock(mutex_);
    return found_ ? found_->source : "";
  }

 private:
  void renew(WallClock::time_point now, Deadline deadline, std::unique_lock<std::mutex>& lock) {
    std::optional<Found> fresh;
    std::exception_ptr failure;
    is_looking_ = true;
    lock.unlock();
    try {
      fresh = look_for(options_, deadline);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    is_looking_ = false;
    free_.notify_all();
    if (fresh) {
      found_ = std::move(fresh);
      renew_at_.reset();
      if (const auto expires = found_->given.expires) {
        // Those that do not live long are kept for half of their life.
        const auto half = std::max<WallClock::duration>((*expires - now) / 2, 0s);
        renew_at_ = *expires - std::min<WallClock::duration>(kEarly, half);
      }
    } else if (!found_ || !found_->given.expires || now >= *found_->given.expires) {
      std::rethrow_exception(failure);
    } else {
      renew_at_ = std::min(now + kNextAttempt, *found_->given.expires);
    }
  }

  const Options options_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable free_;
  bool is_looking_ = false;  // one thread does, without the mutex
  std::optional<Found> found_;
  std::optional<WallClock::time_point> renew_at_;
};

AwsCredentials::AwsCredentials(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
AwsCredentials::~AwsCredentials() = default;
Credentials AwsCredentials::get(Deadline deadline) { return impl_->get(deadline); }
void AwsCredentials::expired(const Credentials& refused) { impl_->expired(refused); }
std::string AwsCredentials::source() const { return impl_->source(); }

}  // namespace virga
