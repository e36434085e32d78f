#include "virga/channel/resp.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

constexpr std::size_t kMaxLine = 64 << 10;
constexpr std::size_t kMaxItems = 1 << 20;
constexpr std::size_t kMaxDepth = 8;

[[noreturn]] void refuse_resp(std::string_view why) {
  throw Error(ErrorKind::kCorrupt, fmt::format("this is not an answer of a Redis server: {}", why),
              "check that a Redis server listens at the address; if it speaks TLS, write rediss://");
}

std::int64_t resp_number(std::string_view digits) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) refuse_resp("a number was expected");
  return number;
}

}  // namespace

bool RespReader::collect_line(ByteView& bytes) {
  const auto text = as_text(bytes);
  const auto end = text.find('\n');
  const auto taken = std::min(end, text.size() - 1) + 1;
  if (line_.size() + taken > kMaxLine) refuse_resp("a line is too long");
  line_ += text.substr(0, taken);
  bytes = bytes.subspan(taken);
  if (end == std::string_view::npos) return false;
  if (!line_.ends_with("\r\n")) refuse_resp("a line has no end");
  line_.resize(line_.size() - 2);
  return true;
}

bool RespReader::feed(ByteView& bytes) {
  while (state_ != State::kWhole) {
    if (state_ == State::kBytes) {
      const auto now = std::min(bytes.size(), unfilled_.size());
      if (now != 0) std::memcpy(unfilled_.data(), bytes.data(), now);
      filled(now);
      bytes = bytes.subspan(now);
      if (!unfilled_.empty()) return false;
      state_ = State::kEndOfBytes;
    }
    if (bytes.empty() || !collect_line(bytes)) return false;
    if (state_ == State::kLine) {
      begin_value();
    } else if (line_.empty()) {
      end_value(std::move(value_));
    } else {
      refuse_resp("a string is longer than announced");
    }
    line_.clear();
  }
  return true;
}

RespValue RespReader::take() {
  check(state_ == State::kWhole, "only a whole value is taken");
  state_ = State::kLine;
  items_ = 0;
  direct_ = {};
  return std::move(value_);
}

void RespReader::begin_value() {
  if (line_.empty()) refuse_resp("an empty line");
  const auto rest = std::string_view(line_).substr(1);
  switch (line_[0]) {
    case '+':
      return end_value({.kind = RespValue::Kind::kStatus, .text = std::string(rest), .bytes = {}, .items = {}});
    case '-':
      return end_value({.kind = RespValue::Kind::kError, .text = std::string(rest), .bytes = {}, .items = {}});
    case ':':
      return end_value(
          {.kind = RespValue::Kind::kInteger, .text = {}, .integer = resp_number(rest), .bytes = {}, .items = {}});
    case '$':
      return begin_bytes(resp_number(rest));
    case '*':
      return begin_array(resp_number(rest));
    default:
      refuse_resp("an unknown kind of value");
  }
}

void RespReader::begin_bytes(std::int64_t size) {
  if (size == -1) return end_value({});
  if (size < 0 || static_cast<std::uint64_t>(size) > max_bytes_) {
    refuse_resp(fmt::format("a string of {} bytes", size));
  }
  value_ = {.kind = RespValue::Kind::kBytes, .text = {}, .integer = size, .bytes = {}, .items = {}};
  if (levels_.empty() && !direct_.empty() && direct_.size() == static_cast<std::size_t>(size)) {
    unfilled_ = direct_;
  } else {
    // Nobody else has these bytes before they are filled.
    value_.bytes =
        SharedBytes::make(static_cast<std::size_t>(size), [this](std::span<std::byte> to) { unfilled_ = to; });
  }
  state_ = State::kBytes;
}

void RespReader::begin_array(std::int64_t size) {
  if (size == -1) return end_value({});
  if (size < 0 || items_ + static_cast<std::uint64_t>(size) > kMaxItems) {
    refuse_resp(fmt::format("an array of {} items", size));
  }
  items_ += static_cast<std::size_t>(size);
  RespValue array;
  array.kind = RespValue::Kind::kArray;
  if (size == 0) return end_value(std::move(array));
  if (levels_.size() == kMaxDepth) refuse_resp("arrays within arrays");
  levels_.push_back({std::move(array), static_cast<std::size_t>(size)});
  state_ = State::kLine;
}

void RespReader::end_value(RespValue value) {
  state_ = State::kLine;
  while (!levels_.empty()) {
    auto& level = levels_.back();
    level.array.items.push_back(std::move(value));
    if (--level.left > 0) return;
    value = std::move(level.array);
    levels_.pop_back();
  }
  value_ = std::move(value);
  state_ = State::kWhole;
}

RespRequest& RespRequest::command(std::size_t arguments) {
  constexpr std::size_t kUsualBytes = 2048;
  if (text_.empty()) text_.reserve(kUsualBytes);
  add_size('*', arguments);
  ++commands_;
  return *this;
}

RespRequest& RespRequest::command(std::initializer_list<std::string_view> arguments) {
  command(arguments.size());
  for (const auto argument : arguments) add(argument);
  return *this;
}

RespRequest& RespRequest::add(std::string_view argument) {
  add_size('$', argument.size());
  text_ += argument;
  text_ += "\r\n";
  return *this;
}

RespRequest& RespRequest::add(std::int64_t argument) {
  return add(std::string_view(fmt::format_int(argument).c_str()));
}

RespRequest& RespRequest::add(std::span<const ByteView> parts) {
  constexpr std::size_t kCopiedBytes = 1500;
  std::size_t size = 0;
  for (const auto& part : parts) size += part.size();
  add_size('$', size);
  // Copying a little costs less than handing the system one more piece.
  if (size <= kCopiedBytes) {
    for (const auto& part : parts) text_ += as_text(part);
  } else {
    for (const auto& part : parts) pieces_.push_back({text_.size(), part});
  }
  text_ += "\r\n";
  return *this;
}

void RespRequest::add_size(char kind, std::size_t size) {
  text_ += kind;
  const fmt::format_int digits(size);
  text_.append(digits.data(), digits.size());
  text_ += "\r\n";
}

std::vector<ByteView> RespRequest::parts() const {
  std::vector<ByteView> parts;
  parts.reserve(2 * pieces_.size() + 1);
  const auto text = as_bytes(text_);
  std::size_t begin = 0;
  for (const auto& piece : pieces_) {
    if (piece.end > begin) parts.push_back(text.subspan(begin, piece.end - begin));
    if (!piece.borrowed.empty()) parts.push_back(piece.borrowed);
    begin = piece.end;
  }
  parts.push_back(text.subspan(begin));
  return parts;
}

}  // namespace virga
