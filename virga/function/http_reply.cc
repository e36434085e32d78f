#include "virga/function/http_reply.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

[[noreturn]] void refuse(std::string_view why) {
  throw Error(ErrorKind::kBadData, fmt::format("not a reply of HTTP/1.1: {}", why));
}

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equals_ignoring_case(std::string_view text, std::string_view in_lower_case) noexcept {
  return std::ranges::equal(text, in_lower_case, {}, lower);
}

/// A character of a token (RFC 9110, 5.6.2), of which names consist.
bool is_token(char c) noexcept {
  return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

std::string_view trimmed(std::string_view text) noexcept {
  const auto is_space = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

/// Digits of `base` and nothing else; nothing if it is no number, or one that no body may have.
std::optional<std::uint64_t> size_from(std::string_view digits, int base) noexcept {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size() || value > kMostReplyBodyBytes) return std::nullopt;
  return value;
}

}  // namespace

const std::string* HttpReply::header(std::string_view name) const noexcept {
  const auto at = std::ranges::find(headers, name, &HttpHeader::name);
  return at == headers.end() ? nullptr : &at->value;
}

std::size_t HttpReplyReader::take(std::string_view bytes) {
  std::size_t taken = 0;
  while (taken < bytes.size() && !is_complete()) {
    const auto rest = bytes.substr(taken);
    if (state_ == State::kBody || state_ == State::kChunk || state_ == State::kToTheEnd) {
      taken += take_body(rest);
      continue;
    }
    const auto end = rest.find('\n');
    const auto part = rest.substr(0, end == std::string_view::npos ? end : end + 1);
    head_bytes_ += part.size();
    if (head_bytes_ > kMostReplyHeadBytes) refuse(fmt::format("its head exceeds {} bytes", kMostReplyHeadBytes));
    line_ += part;
    taken += part.size();
    if (end == std::string_view::npos) break;
    line_.pop_back();
    if (line_.ends_with('\r')) line_.pop_back();
    take_line(line_);
    line_.clear();
  }
  return taken;
}

void HttpReplyReader::end() {
  if (state_ == State::kToTheEnd) state_ = State::kComplete;
  if (!is_complete()) refuse("it is cut off");
}

std::size_t HttpReplyReader::take_body(std::string_view bytes) {
  const bool to_the_end = state_ == State::kToTheEnd;
  const auto part =
      to_the_end ? bytes : bytes.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size())));
  reply_.body_bytes += part.size();
  if (reply_.body_bytes > kMostReplyBodyBytes) refuse(fmt::format("its body exceeds {} bytes", kMostReplyBodyBytes));
  reply_.body += part.substr(0, most_kept_ - reply_.body.size());
  if (to_the_end) return part.size();
  left_ -= part.size();
  if (left_ == 0) state_ = state_ == State::kBody ? State::kComplete : State::kChunkEnd;
  return part.size();
}

void HttpReplyReader::take_line(std::string_view line) {
  switch (state_) {
    case State::kStatus:
      return take_status(line);
    case State::kHeader:
      return line.empty() ? end_of_headers() : take_header(line);
    case State::kChunkSize:
      return take_chunk_size(line);
    case State::kChunkEnd:
      if (!line.empty()) refuse("a chunk is longer than it says");
      state_ = State::kChunkSize;
      head_bytes_ = 0;
      return;
    case State::kTrailer:
      if (line.empty()) state_ = State::kComplete;
      return;
    case State::kBody:
    case State::kToTheEnd:
    case State::kChunk:
    case State::kComplete:
      check(false, "a body has no lines");
  }
}

void HttpReplyReader::take_status(std::string_view line) {
  // "HTTP/1.1 200 OK"
  const bool is_status = line.size() >= 12 && line.starts_with("HTTP/1.") && (line[7] == '0' || line[7] == '1') &&
                         line[8] == ' ' && std::ranges::all_of(line.substr(9, 3), is_digit) &&
                         (line.size() == 12 || line[12] == ' ') && line[9] != '0';
  if (!is_status) refuse("its first line is no status");
  reply_.status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
  reply_.keeps_connection = line[7] == '1';
  state_ = State::kHeader;
}

void HttpReplyReader::take_header(std::string_view line) {
  const auto colon = line.find(':');
  const auto name = line.substr(0, colon);
  if (colon == std::string_view::npos || name.empty() || !std::ranges::all_of(name, is_token))
    refuse("a header has no name");
  const auto value = trimmed(line.substr(colon + 1));
  if (std::ranges::any_of(value, [](char c) { return c == '\0' || c == '\r'; })) refuse("a header is no text");
  HttpHeader header{.name = std::string(name), .value = std::string(value)};
  std::ranges::transform(header.name, header.name.begin(), lower);
  const bool only_once = header.name == "content-length" || header.name == "transfer-encoding";
  if (only_once && reply_.header(header.name) != nullptr) refuse(header.name + " is there twice");
  reply_.headers.push_back(std::move(header));
}

void HttpReplyReader::end_of_headers() {
  if (reply_.status < 200) {  // interim: the reply is still to come, and shares the limit with it
    if (reply_.status == 101) refuse("it changes the protocol");
    reply_ = {};
    state_ = State::kStatus;
    return;
  }
  head_bytes_ = 0;
  if (const auto* connection = reply_.header("connection")) {
    if (equals_ignoring_case(*connection, "close")) reply_.keeps_connection = false;
    if (equals_ignoring_case(*connection, "keep-alive")) reply_.keeps_connection = true;
  }
  const auto* length = reply_.header("content-length");
  const auto* coding = reply_.header("transfer-encoding");
  if (length != nullptr && coding != nullptr) refuse("it has both a length and chunks");
  if (reply_.status == 204 || reply_.status == 304) {
    state_ = State::kComplete;
  } else if (coding != nullptr) {
    if (!equals_ignoring_case(*coding, "chunked")) refuse("its transfer coding is not chunked");
    state_ = State::kChunkSize;
  } else if (length != nullptr) {
    const auto size = size_from(*length, 10);
    if (!size) refuse(fmt::format("its length is no number up to {}", kMostReplyBodyBytes));
    left_ = *size;
    reply_.body.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(left_, most_kept_)));
    state_ = left_ == 0 ? State::kComplete : State::kBody;
  } else {
    reply_.keeps_connection = false;
    state_ = State::kToTheEnd;
  }
}

void HttpReplyReader::take_chunk_size(std::string_view line) {
  const auto size = size_from(trimmed(line.substr(0, line.find(';'))), 16);
  if (!size) refuse(fmt::format("the size of a chunk is no number up to {:x}", kMostReplyBodyBytes));
  left_ = *size;
  state_ = left_ == 0 ? State::kTrailer : State::kChunk;
  head_bytes_ = 0;
}

}  // namespace virga
