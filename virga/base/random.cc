#include "virga/base/random.h"

#include <numeric>
#include <utility>

namespace virga {
namespace {

std::uint64_t splitmix64(std::uint64_t x) noexcept {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

constexpr std::uint32_t low(std::uint64_t x) noexcept { return static_cast<std::uint32_t>(x); }
constexpr std::uint32_t high(std::uint64_t x) noexcept { return static_cast<std::uint32_t>(x >> 32); }

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> c, std::array<std::uint32_t, 2> k) noexcept {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57U} * c[2];
    c = {high(p1) ^ c[1] ^ k[0], low(p1), high(p0) ^ c[3] ^ k[1], low(p0)};
    k[0] += 0x9E3779B9U;
    k[1] += 0xBB67AE85U;
  }
  return c;
}

Random::Random(std::uint64_t seed, Purpose purpose) noexcept {
  const auto mixed = splitmix64(seed ^ splitmix64(static_cast<std::uint64_t>(purpose)));
  key_ = {low(mixed), high(mixed)};
}

std::array<std::uint32_t, 4> Random::words(std::uint32_t epoch, std::uint64_t item, std::uint32_t draw) const noexcept {
  return philox4x32({low(item), high(item), epoch, draw}, key_);
}

std::uint64_t Random::bits(std::uint32_t epoch, std::uint64_t item, std::uint32_t draw) const noexcept {
  const auto w = words(epoch, item, draw);
  return (std::uint64_t{w[1]} << 32) | w[0];
}

double Random::uniform(std::uint32_t epoch, std::uint64_t item, std::uint32_t draw) const noexcept {
  return static_cast<double>(bits(epoch, item, draw) >> 11) * 0x1p-53;
}

std::uint64_t Random::below(std::uint64_t bound, std::uint32_t epoch, std::uint64_t item,
                            std::uint32_t draw) const noexcept {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((Wide{bits(epoch, item, draw)} * bound) >> 64);
}

std::vector<std::uint32_t> permutation(std::uint32_t count, const Random& random, std::uint32_t epoch) {
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0U);
  for (std::uint32_t i = count; i > 1; --i) std::swap(order[i - 1], order[random.below(i, epoch, i)]);
  return order;
}

}  // namespace virga
