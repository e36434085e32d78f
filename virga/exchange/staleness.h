#pragma once

#include <algorithm>
#include <cstdint>

namespace virga {

/// How old the parameters were that the steps of a rank, or of several, were computed from. A step's staleness is, in
/// SSP, the number of rounds before its own of which somebody's contribution was still missing; in ASP the number of
/// versions of the global model that others wrote between this rank's read and its write. Those are overwritten by the
/// write.
struct StalenessCounts {
  std::uint64_t steps = 0;
  std::uint64_t sum = 0;          ///< over the steps
  std::uint64_t most = 0;         ///< of one step
  std::uint64_t overwritten = 0;  ///< ASP: versions of others that the steps' writes have replaced unseen

  void add(std::uint64_t staleness) noexcept {
    ++steps;
    sum += staleness;
    most = std::max(most, staleness);
  }
  StalenessCounts& operator+=(const StalenessCounts& other) noexcept {
    steps += other.steps;
    sum += other.sum;
    most = std::max(most, other.most);
    overwritten += other.overwritten;
    return *this;
  }
  [[nodiscard]] double mean() const noexcept {
    return steps == 0 ? 0 : static_cast<double>(sum) / static_cast<double>(steps);
  }
  bool operator==(const StalenessCounts&) const = default;
};

/// ASP: what became of updates. One is lost when the global model no longer stems from it.
struct UpdateCounts {
  std::uint64_t written = 0;
  std::uint64_t lost = 0;
  UpdateCounts& operator+=(const UpdateCounts& other) noexcept {
    written += other.written;
    lost += other.lost;
    return *this;
  }
  bool operator==(const UpdateCounts&) const = default;
};

}  // namespace virga
