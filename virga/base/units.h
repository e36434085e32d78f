#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace virga {

/// "1769MB", "8MiB", "64k", "100": decimal units (kB, MB, GB) are powers of 1000, binary ones (KiB, MiB, GiB) of 1024.
/// Throws Error(kUsage), naming `what`.
[[nodiscard]] std::uint64_t parse_bytes(std::string_view text, std::string_view what);

/// "15min", "90s", "1.5h", "250ms", "10" (seconds). Throws Error(kUsage), naming `what`.
[[nodiscard]] std::chrono::nanoseconds parse_duration(std::string_view text, std::string_view what);

/// "8.0 MiB", "312 B".
[[nodiscard]] std::string format_bytes(std::uint64_t bytes);
/// "1h 02m", "3m 20s", "4.21 s", "12 ms".
[[nodiscard]] std::string format_duration(std::chrono::nanoseconds duration);
/// The same of any number; what is negative or beyond 9e9 is taken for the nearest that is not.
[[nodiscard]] std::string format_seconds(double seconds);
/// "1,234,567".
[[nodiscard]] std::string format_count(std::uint64_t count);

/// The entry of `known` that is nearest to `word` by edit distance, or empty if none is near enough to be meant.
[[nodiscard]] std::string nearest_word(std::string_view word, const std::vector<std::string>& known);

}  // namespace virga
