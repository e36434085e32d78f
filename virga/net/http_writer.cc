#include "virga/net/http_writer.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

bool is_token_char(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}
bool is_token(std::string_view text) noexcept { return !text.empty() && std::ranges::all_of(text, is_token_char); }
bool is_control(char c) noexcept { return (static_cast<unsigned char>(c) < 32 && c != '\t') || c == 127; }

bool is_named(const HttpHeader& header, std::string_view name) noexcept { return is_same_header(header.name, name); }

std::string date_text(std::time_t time) {
  static constexpr std::array kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::tm date{};
  ::gmtime_r(&time, &date);
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[static_cast<std::size_t>(date.tm_wday)],
                     date.tm_mday, kMonths[static_cast<std::size_t>(date.tm_mon)], date.tm_year + 1900, date.tm_hour,
                     date.tm_min, date.tm_sec);
}

[[noreturn]] void refuse(std::string_view what, std::string_view text) {
  throw Error(ErrorKind::kBadData, fmt::format("a request cannot be sent: {}: \"{}\"", what, text.substr(0, 300)));
}

}  // namespace

std::string_view reason_of(int status) noexcept {
  struct Reason {
    int status;
    std::string_view text;
  };
  static constexpr Reason kReasons[] = {{200, "OK"},
                                        {201, "Created"},
                                        {202, "Accepted"},
                                        {204, "No Content"},
                                        {206, "Partial Content"},
                                        {301, "Moved Permanently"},
                                        {302, "Found"},
                                        {304, "Not Modified"},
                                        {307, "Temporary Redirect"},
                                        {400, "Bad Request"},
                                        {401, "Unauthorized"},
                                        {403, "Forbidden"},
                                        {404, "Not Found"},
                                        {405, "Method Not Allowed"},
                                        {408, "Request Timeout"},
                                        {409, "Conflict"},
                                        {410, "Gone"},
                                        {411, "Length Required"},
                                        {412, "Precondition Failed"},
                                        {413, "Content Too Large"},
                                        {415, "Unsupported Media Type"},
                                        {417, "Expectation Failed"},
                                        {429, "Too Many Requests"},
                                        {431, "Request Header Fields Too Large"},
                                        {500, "Internal Server Error"},
                                        {501, "Not Implemented"},
                                        {502, "Bad Gateway"},
                                        {503, "Service Unavailable"},
                                        {504, "Gateway Timeout"},
                                        {505, "HTTP Version Not Supported"}};
  const auto* at = std::ranges::find(kReasons, status, &Reason::status);
  return at == std::end(kReasons) ? "Unknown" : at->text;
}

bool may_have_body(int status) noexcept { return status / 100 != 1 && status != 204 && status != 304; }

std::string response_head(const HttpResponse& response, const HttpResponseForm& form) {
  auto head =
      fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\n", response.status, reason_of(response.status), date_text(form.date));
  for (const auto& header : response.headers) {
    if (!is_token(header.name) || is_named(header, "Content-Length") || is_named(header, "Transfer-Encoding") ||
        is_named(header, "Connection") || is_named(header, "Date")) {
      continue;
    }
    head += header.name;
    head += ": ";
    for (const char c : header.value) head += is_control(c) ? ' ' : c;
    head += "\r\n";
  }
  if (may_have_body(response.status)) head += fmt::format("Content-Length: {}\r\n", response.body.size());
  if (!form.keep_alive) head += "Connection: close\r\n";
  if (form.keep_alive && form.to_http_1_0) head += "Connection: keep-alive\r\n";
  return head + "\r\n";
}

std::string request_head(const HttpRequest& request, const std::string& host, std::size_t body_bytes) {
  if (!is_token(request.method)) refuse("not a method", request.method);
  const auto is_blank = [](char c) { return is_control(c) || c == ' ' || c == '\t'; };
  if (request.target.empty() || std::ranges::any_of(request.target, is_blank)) {
    refuse("not a target, which is percent-encoded", request.target);
  }
  auto head = fmt::format("{} {} HTTP/1.1\r\n", request.method, request.target);
  if (find_header(request.headers, "Host") == nullptr) head += fmt::format("Host: {}\r\n", host);
  const auto length = std::to_string(body_bytes);
  for (const auto& header : request.headers) {
    if (!is_token(header.name) || is_named(header, "Transfer-Encoding")) refuse("not a header for it", header.name);
    if (std::ranges::any_of(header.value, is_control)) refuse("not the value of a header", header.value);
    if (is_named(header, "Content-Length") && header.value != length) {
      refuse("not the length of its body, " + length, header.value);
    }
    head += fmt::format("{}: {}\r\n", header.name, header.value);
  }
  const bool has_length = find_header(request.headers, "Content-Length") != nullptr;
  const bool wants_length = body_bytes > 0 || request.method == "POST" || request.method == "PUT";
  if (!has_length && wants_length) head += fmt::format("Content-Length: {}\r\n", length);
  return head + "\r\n";
}

}  // namespace virga
