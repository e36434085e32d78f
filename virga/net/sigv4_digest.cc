// Without OpenSSL's providers, which would make a function 3 MB larger than the digest itself.
#define OPENSSL_SUPPRESS_DEPRECATED

#include <algorithm>
#include <array>

#include <openssl/crypto.h>
#include <openssl/sha.h>

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

class Digest {
 public:
  Digest() { check(::SHA256_Init(&context_) == 1, "SHA-256 is not to be had"); }
  void add(const void* bytes, std::size_t size) {
    check(::SHA256_Update(&context_, bytes, size) == 1, "SHA-256 is not to be had");
  }
  [[nodiscard]] Sha256 end() {
    Sha256 digest{};
    check(::SHA256_Final(digest.data(), &context_) == 1, "SHA-256 is not to be had");
    return digest;
  }

 private:
  SHA256_CTX context_{};
};

[[noreturn]] void refuse_base64(std::string_view why) {
  throw Error(ErrorKind::kBadData, fmt::format("not base64: {}", why),
              "encode it with the standard alphabet (A-Z a-z 0-9 + /) and = at the end, without line breaks");
}

}  // namespace

Sha256 sha256(std::string_view bytes) {
  Digest digest;
  digest.add(bytes.data(), bytes.size());
  return digest.end();
}

Sha256 hmac_sha256(std::span<const unsigned char> key, std::string_view bytes) {
  std::array<unsigned char, SHA256_CBLOCK> block{};  // RFC 2104
  if (key.size() > block.size()) {
    const auto shorter = sha256({reinterpret_cast<const char*>(key.data()), key.size()});
    std::ranges::copy(shorter, block.begin());
  } else {
    std::ranges::copy(key, block.begin());
  }
  const auto padded = [&](unsigned char with) {
    auto pad = block;
    for (auto& byte : pad) byte ^= with;
    return pad;
  };
  constexpr unsigned char kInner = 0x36, kOuter = 0x5c;
  Digest inner, outer;
  inner.add(padded(kInner).data(), block.size());
  inner.add(bytes.data(), bytes.size());
  const auto of_inner = inner.end();
  outer.add(padded(kOuter).data(), block.size());
  outer.add(of_inner.data(), of_inner.size());
  ::OPENSSL_cleanse(block.data(), block.size());
  return outer.end();
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

std::string sha256_hex(std::span<const ByteView> parts) {
  Digest digest;
  for (const auto part : parts) digest.add(part.data(), part.size());
  return hex(digest.end());
}

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
