#pragma once

#include <cstdint>
#include <span>

namespace virga {

// Places of set bits among all set bits of a bitmap of 64-bit words.

/// rank[w] = number of set bits in words[0 ... w-1]; returns that of all words. `rank` has a place for each word.
std::uint32_t rank_words(std::span<const std::uint64_t> words, std::span<std::uint32_t> rank) noexcept;

/// places[i] = number of set bits before bit bits[i]; `rank` is that of rank_words().
void find_places(std::span<const std::uint64_t> words, std::span<const std::uint32_t> rank,
                 std::span<const std::uint32_t> bits, std::span<std::uint32_t> places) noexcept;

}  // namespace virga
