#include "virga/channel/json_scanner.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

void append_utf8(std::string& to, unsigned code) {
  const auto byte = [&](unsigned value) { to += static_cast<char>(value); };
  if (code < 0x80) {
    byte(code);
  } else if (code < 0x800) {
    byte(0xC0U | code >> 6U);
    byte(0x80U | (code & 0x3FU));
  } else if (code < 0x10000) {
    byte(0xE0U | code >> 12U);
    byte(0x80U | (code >> 6U & 0x3FU));
    byte(0x80U | (code & 0x3FU));
  } else {
    byte(0xF0U | code >> 18U);
    byte(0x80U | (code >> 12U & 0x3FU));
    byte(0x80U | (code >> 6U & 0x3FU));
    byte(0x80U | (code & 0x3FU));
  }
}

}  // namespace

void JsonScanner::fail(std::string_view why) const {
  throw Error(ErrorKind::kCorrupt, fmt::format("{}, byte {}: {}", what_, at_, why));
}

void JsonScanner::skip_space() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
    ++at_;
  }
}

bool JsonScanner::take(char c) {
  skip_space();
  if (at_ == text_.size() || text_[at_] != c) return false;
  ++at_;
  return true;
}

void JsonScanner::expect(char c) {
  if (!take(c)) fail(fmt::format("'{}' was expected", c));
}

std::string_view JsonScanner::string() {
  expect('"');
  const auto* const begin = text_.data() + at_;
  const auto* const quote = static_cast<const char*>(std::memchr(begin, '"', text_.size() - at_));
  if (quote == nullptr) fail("a string does not end");
  const auto size = static_cast<std::size_t>(quote - begin);
  if (std::memchr(begin, '\\', size) != nullptr) return unescaped(at_ + size);
  at_ += size + 1;
  return {begin, size};
}

/// The string from here; up to `end`, at the least, there is no quote.
std::string_view JsonScanner::unescaped(std::size_t end) {
  scratch_.clear();
  for (;;) {
    const auto plain = text_.substr(at_, std::max(end, at_) - at_);
    const auto until = std::min(plain.find('\\'), plain.size());
    scratch_ += plain.substr(0, until);
    at_ += until;
    if (until == plain.size()) {
      if (at_ == text_.size()) fail("a string does not end");
      if (text_[at_] == '"') {
        ++at_;
        return scratch_;
      }
      end = std::min(text_.find('"', at_), text_.size());
      continue;
    }
    if (++at_ == text_.size()) fail("a string does not end");
    switch (const char c = text_[at_++]) {
      case '"':
      case '\\':
      case '/':
        scratch_ += c;
        break;
      case 'b':
        scratch_ += '\b';
        break;
      case 'f':
        scratch_ += '\f';
        break;
      case 'n':
        scratch_ += '\n';
        break;
      case 'r':
        scratch_ += '\r';
        break;
      case 't':
        scratch_ += '\t';
        break;
      case 'u': {
        auto code = hex4();
        if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_).starts_with("\\u")) {
          at_ += 2;
          const auto low = hex4();
          if (low < 0xDC00 || low > 0xDFFF) fail("half a character");
          code = 0x10000 + ((code - 0xD800) << 10U) + (low - 0xDC00);
        } else if (code >= 0xD800 && code <= 0xDFFF) {
          fail("half a character");
        }
        append_utf8(scratch_, code);
        break;
      }
      default:
        fail("no such escape");
    }
  }
}

unsigned JsonScanner::hex4() {
  unsigned value = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) fail("four hexadecimal digits were expected");
    value = value << 4U | static_cast<unsigned>(digit);
  }
  return value;
}

double JsonScanner::number() {
  skip_space();
  double value = 0;
  const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
  if (error != std::errc() || !std::isfinite(value)) fail("a number was expected");
  at_ = static_cast<std::size_t>(end - text_.data());
  return value;
}

bool JsonScanner::next_is(char c) {
  skip_space();
  return at_ < text_.size() && text_[at_] == c;
}

void JsonScanner::skip() {
  skip_space();
  const char c = at_ < text_.size() ? text_[at_] : '\0';
  if (c == '{') return object([this](std::string_view) { skip(); });
  if (c == '[') return array([this] { skip(); });
  if (c == '"') return static_cast<void>(string());
  const auto end = std::min(text_.find_first_not_of("+-.0123456789abcdefghijklmnopqrstuvwxyzE", at_), text_.size());
  if (end == at_) fail("a value was expected");
  at_ = end;
}

void JsonScanner::end() {
  skip_space();
  if (at_ != text_.size()) fail("more follows");
}

}  // namespace virga
