#include "virga/net/sigv4_canonical.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace virga {
namespace {

/// Without empty and dot segments, which do not reach the service that verifies.
std::string normalized(std::string_view path) {
  std::vector<std::string_view> segments;
  for (auto rest = path; !rest.empty();) {
    const auto segment = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), segment.size() + 1));
    if (segment == "..") {
      if (!segments.empty()) segments.pop_back();
    } else if (!segment.empty() && segment != ".") {
      segments.push_back(segment);
    }
  }
  std::string text;
  for (const auto segment : segments) text.append("/").append(segment);
  const bool ends_in_slash = path.ends_with('/') || segments.empty();
  return ends_in_slash ? text + "/" : text;
}

std::string canonical_path(std::string_view path, SigV4Path form) {
  if (form == SigV4Path::kAsSent) return path.empty() ? "/" : std::string(path);
  return percent_encode(normalized(path), /*keep_slash=*/true);
}

std::string canonical_query(std::string_view target) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const auto& [name, value] : query_of(target)) pairs.emplace_back(percent_encode(name), percent_encode(value));
  std::ranges::sort(pairs);
  std::string query;
  for (const auto& [name, value] : pairs) {
    if (!query.empty()) query += '&';
    query.append(name).append("=").append(value);
  }
  return query;
}

/// Without blanks at its ends, and one where several stand.
std::string canonical_value(std::string_view value) {
  std::string text;
  for (const char c : value) {
    const bool is_blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
    if (!is_blank) {
      text += c;
    } else if (!text.empty() && text.back() != ' ') {
      text += ' ';
    }
  }
  if (text.ends_with(' ')) text.pop_back();
  return text;
}

std::string canonical_header(const std::vector<HttpHeader>& headers, std::string_view name) {
  std::string values;
  bool is_first = true;
  for (const auto& header : headers) {
    if (!is_same_header(header.name, name)) continue;
    if (!std::exchange(is_first, false)) values += ',';
    values += canonical_value(header.value);
  }
  return values;
}

}  // namespace

std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string join_names(const std::vector<std::string>& names) { return fmt::format("{}", fmt::join(names, ";")); }

std::string canonical_request(const HttpRequest& request, const std::vector<std::string>& signed_headers,
                              std::string_view payload_hash, SigV4Path path) {
  auto text = fmt::format("{}\n{}\n{}\n", request.method, canonical_path(path_of(request.target), path),
                          canonical_query(request.target));
  for (const auto& name : signed_headers) text += fmt::format("{}:{}\n", name, canonical_header(request.headers, name));
  return fmt::format("{}\n{}\n{}", text, join_names(signed_headers), payload_hash);
}

std::string signature_of(std::string_view canonical_request, std::string_view secret, std::string_view date,
                         const SigningScope& scope) {
  const auto day = date.substr(0, 8);
  const auto to_sign = fmt::format("{}\n{}\n{}/{}/{}/aws4_request\n{}", kSigV4Algorithm, date, day, scope.region,
                                   scope.service, sha256_hex(canonical_request));
  const auto first = fmt::format("AWS4{}", secret);
  auto key = hmac_sha256({reinterpret_cast<const unsigned char*>(first.data()), first.size()}, day);
  for (const std::string_view part : {std::string_view(scope.region), std::string_view(scope.service),
                                      std::string_view("aws4_request"), std::string_view(to_sign)}) {
    key = hmac_sha256(key, part);
  }
  return hex(key);
}

std::string iso_basic(std::chrono::system_clock::time_point time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const auto day = std::chrono::floor<std::chrono::days>(seconds);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(seconds - day);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count());
}

std::optional<std::chrono::sys_seconds> parse_iso_basic(std::string_view text) noexcept {
  if (text.size() != 16 || text[8] != 'T' || text[15] != 'Z') return {};
  bool is_number = true;
  const auto number = [&](std::size_t at, std::size_t digits) {
    int value = 0;
    for (const char c : text.substr(at, digits)) {
      is_number = is_number && c >= '0' && c <= '9';
      value = value * 10 + (c - '0');
    }
    return value;
  };
  using namespace std::chrono;
  const year_month_day date(year(number(0, 4)), month(static_cast<unsigned>(number(4, 2))),
                            day(static_cast<unsigned>(number(6, 2))));
  const int hour = number(9, 2);
  const int minute = number(11, 2);
  const int second = number(13, 2);
  if (!is_number || !date.ok() || hour > 23 || minute > 59 || second > 59) return {};
  return sys_days(date) + hours(hour) + minutes(minute) + seconds(second);
}

}  // namespace virga
