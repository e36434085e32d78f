#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "virga/net/sigv4.h"

namespace virga {

// The steps of Signature Version 4 that signing and verifying share.

inline constexpr std::string_view kSigV4Algorithm = "AWS4-HMAC-SHA256";

using Sha256 = std::array<unsigned char, 32>;
[[nodiscard]] Sha256 sha256(std::string_view bytes);
[[nodiscard]] Sha256 hmac_sha256(std::span<const unsigned char> key, std::string_view bytes);
[[nodiscard]] std::string hex(std::span<const unsigned char> bytes);
/// Takes as long for any two texts of the same length.
[[nodiscard]] bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept;

/// "20150830T123600Z", in whole seconds.
[[nodiscard]] std::string iso_basic(std::chrono::system_clock::time_point time);
[[nodiscard]] std::optional<std::chrono::sys_seconds> parse_iso_basic(std::string_view text) noexcept;

/// `signed_headers`: names in lower case, sorted. Throws Error(kBadData) for a query that is not percent-encoded.
[[nodiscard]] std::string canonical_request(const HttpRequest& request, const std::vector<std::string>& signed_headers,
                                            std::string_view payload_hash, SigV4Path path);
/// The names with semicolons between them.
[[nodiscard]] std::string join_names(const std::vector<std::string>& names);
[[nodiscard]] std::string to_lower(std::string_view text);

/// `date`: "20150830T123600Z".
[[nodiscard]] std::string signature_of(std::string_view canonical_request, std::string_view secret,
                                       std::string_view date, const SigningScope& scope);

}  // namespace virga
