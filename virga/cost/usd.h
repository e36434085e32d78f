#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace virga {

/// An amount of money, exact to 1e-12 dollars, up to 9 million.
class Usd {
 public:
  constexpr Usd() = default;
  [[nodiscard]] static constexpr Usd picodollars(std::int64_t count) noexcept { return Usd(count); }
  /// Rounded to the nearest. Throws Error(kUsage) for what is not a number, negative or too large.
  [[nodiscard]] static Usd of(double dollars);
  [[nodiscard]] constexpr std::int64_t picodollars() const noexcept { return count_; }
  [[nodiscard]] constexpr double dollars() const noexcept { return static_cast<double>(count_) * 1e-12; }

  constexpr Usd& operator+=(Usd other) noexcept { return count_ += other.count_, *this; }
  constexpr Usd& operator-=(Usd other) noexcept { return count_ -= other.count_, *this; }
  friend constexpr Usd operator+(Usd a, Usd b) noexcept { return a += b; }
  friend constexpr Usd operator-(Usd a, Usd b) noexcept { return a -= b; }
  auto operator<=>(const Usd&) const = default;

 private:
  constexpr explicit Usd(std::int64_t count) noexcept : count_(count) {}
  std::int64_t count_ = 0;
};

/// For people: "$0.000312", "$1.25", "$0": three significant digits below a dollar.
[[nodiscard]] std::string format_usd(Usd amount);

}  // namespace virga
