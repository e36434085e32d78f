#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <string>

namespace virga {

/// An amount of money, exact to 1e-12 dollars, up to 9 million. A sum beyond stays at the most that there is.
class Usd {
 public:
  constexpr Usd() = default;
  [[nodiscard]] static constexpr Usd picodollars(std::int64_t count) noexcept { return Usd(count); }
  /// Rounded to the nearest. Throws Error(kUsage) for what is not a number, negative or too large.
  [[nodiscard]] static Usd of(double dollars);
  [[nodiscard]] static constexpr Usd most() noexcept { return Usd(9'000'000'000'000'000'000); }
  [[nodiscard]] constexpr std::int64_t picodollars() const noexcept { return count_; }
  [[nodiscard]] constexpr double dollars() const noexcept { return static_cast<double>(count_) * 1e-12; }

  constexpr Usd& operator+=(Usd other) noexcept {
    if (__builtin_add_overflow(count_, other.count_, &count_)) count_ = other.count_ > 0 ? kHigh : kLow;
    return *this;
  }
  constexpr Usd& operator-=(Usd other) noexcept {
    if (__builtin_sub_overflow(count_, other.count_, &count_)) count_ = other.count_ < 0 ? kHigh : kLow;
    return *this;
  }
  friend constexpr Usd operator+(Usd a, Usd b) noexcept { return a += b; }
  friend constexpr Usd operator-(Usd a, Usd b) noexcept { return a -= b; }
  auto operator<=>(const Usd&) const = default;

 private:
  static constexpr std::int64_t kHigh = std::numeric_limits<std::int64_t>::max();
  static constexpr std::int64_t kLow = std::numeric_limits<std::int64_t>::min();
  constexpr explicit Usd(std::int64_t count) noexcept : count_(count) {}
  std::int64_t count_ = 0;
};

/// For people: "$0.000312", "$1.25", "$0": three significant digits below a dollar.
[[nodiscard]] std::string format_usd(Usd amount);

}  // namespace virga
