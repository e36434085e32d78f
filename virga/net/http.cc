#include "virga/net/http.h"

#include <algorithm>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (lower(c) >= 'a' && lower(c) <= 'f') return lower(c) - 'a' + 10;
  return -1;
}

bool is_unreserved(char c) noexcept {
  return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || c == '-' || c == '.' || c == '_' || c == '~';
}

}  // namespace

bool is_same_header(std::string_view name, std::string_view other) noexcept {
  return std::ranges::equal(name, other, {}, lower, lower);
}

const std::string* find_header(const std::vector<HttpHeader>& headers, std::string_view name) noexcept {
  const auto at = std::ranges::find_if(headers, [&](const auto& header) { return is_same_header(header.name, name); });
  return at == headers.end() ? nullptr : &at->value;
}

std::string percent_decode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      throw Error(ErrorKind::kBadData,
                  fmt::format("not percent-encoded: \"{}\": two hexadecimal digits follow each %", text.substr(0, 300)),
                  "write a percent sign as %25");
    }
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

std::string percent_encode(std::string_view text, bool keep_slash) {
  static constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    if (is_unreserved(c) || (keep_slash && c == '/')) {
      encoded += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded += '%';
    encoded += kDigits[byte >> 4U];
    encoded += kDigits[byte & 15U];
  }
  return encoded;
}

std::string_view path_of(std::string_view target) noexcept { return target.substr(0, target.find('?')); }

std::vector<HttpHeader> query_of(std::string_view target) {
  std::vector<HttpHeader> query;
  const auto mark = target.find('?');
  if (mark == std::string_view::npos) return query;
  auto rest = target.substr(mark + 1);
  while (!rest.empty()) {
    const auto piece = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), piece.size() + 1));
    if (piece.empty()) continue;
    const auto equals = piece.find('=');
    const auto value = equals == std::string_view::npos ? std::string_view() : piece.substr(equals + 1);
    query.push_back({.name = percent_decode(piece.substr(0, equals)), .value = percent_decode(value)});
  }
  return query;
}

}  // namespace virga
