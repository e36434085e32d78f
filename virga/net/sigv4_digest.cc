#include <array>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/net/sigv4_canonical.h"

namespace virga {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const unsigned char* bytes_of(std::string_view text) noexcept {
  return reinterpret_cast<const unsigned char*>(text.data());
}

/// The value of each digit; kNoDigit for other characters.
constexpr unsigned char kNoDigit = 255;
constexpr auto kValues = [] {
  std::array<unsigned char, 256> values{};
  values.fill(kNoDigit);
  for (std::size_t i = 0; i < kDigits.size(); ++i) {
    values[static_cast<unsigned char>(kDigits[i])] = static_cast<unsigned char>(i);
  }
  return values;
}();

[[noreturn]] void refuse_base64(std::string_view why) {
  throw Error(ErrorKind::kBadData, fmt::format("not base64: {}", why),
              "encode it with the standard alphabet (A-Z a-z 0-9 + /) and = at the end, without line breaks");
}

}  // namespace

Sha256 sha256(std::string_view bytes) {
  Sha256 digest{};
  unsigned size = 0;
  check(::EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, ::EVP_sha256(), nullptr) == 1 &&
            size == digest.size(),
        "SHA-256 is not to be had");
  return digest;
}

Sha256 hmac_sha256(std::span<const unsigned char> key, std::string_view bytes) {
  Sha256 digest{};
  unsigned size = 0;
  check(::HMAC(::EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes_of(bytes), bytes.size(), digest.data(),
               &size) != nullptr &&
            size == digest.size(),
        "HMAC-SHA-256 is not to be had");
  return digest;
}

std::string hex(std::span<const unsigned char> bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const auto byte : bytes) fmt::format_to(std::back_inserter(text), "{:02x}", byte);
  return text;
}

bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && ::CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string sha256_hex(std::string_view bytes) { return hex(sha256(bytes)); }

std::string sha256_base64(std::string_view bytes) {
  const auto digest = sha256(bytes);
  return base64_encode({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

std::string base64_encode(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto piece = bytes.substr(i, 3);
    std::uint32_t bits = 0;
    for (std::size_t j = 0; j < 3; ++j) bits = bits << 8U | (j < piece.size() ? bytes_of(piece)[j] : 0U);
    for (std::size_t j = 0; j < 4; ++j) text += j <= piece.size() ? kDigits[bits >> (18 - 6 * j) & 63U] : '=';
  }
  return text;
}

std::string base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) refuse_base64("its length is not a multiple of 4");
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    const auto piece = text.substr(i, 4);
    const bool is_last = i + 4 == text.size();
    const std::size_t fill = is_last && piece.ends_with("==") ? 2 : is_last && piece.ends_with('=') ? 1 : 0;
    std::uint32_t bits = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const unsigned digit = j < 4 - fill ? kValues[static_cast<unsigned char>(piece[j])] : 0U;
      if (digit == kNoDigit) refuse_base64(fmt::format("character {} is none of its digits", i + j));
      bits = bits << 6U | digit;
    }
    for (std::size_t j = 0; j < 3; ++j) {
      const auto byte = bits >> (16 - 8 * j) & 255U;
      if (j < 3 - fill) {
        bytes += static_cast<char>(byte);
      } else if (byte != 0) {
        refuse_base64("its last digit has bits that mean nothing");
      }
    }
  }
  return bytes;
}

}  // namespace virga
