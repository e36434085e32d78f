#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace virga {

/// What a random number is for. Streams of different purposes are independent; the numbers are part of the formats
/// (they decide the order of rows), so they are never reused or renumbered.
enum class Purpose : std::uint32_t {
  kSplit = 1,       ///< training, validation or test row, at import
  kShuffle = 2,     ///< order of rows in the blocks, at import
  kSchedule = 3,    ///< order of row groups in an epoch
  kInitialise = 4,  ///< first values of parameters
  kGenerate = 5,    ///< synthetic data
  kSample = 6,      ///< sample for the search of a learning rate
  kSteps = 7,       ///< order of steps in a pass, where ranks have fixed shares
  kTest = 1000,     ///< tests and benchmarks
};

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter-based generator, so
/// that any number of any stream is a pure function of (seed, purpose, epoch, item, draw), whoever asks, in any order.
[[nodiscard]] std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                      std::array<std::uint32_t, 2> key) noexcept;

/// A family of streams for one seed and purpose. A value; threads may share it.
class Random {
 public:
  Random(std::uint64_t seed, Purpose purpose) noexcept;

  /// Four random words for one item (a row, a coordinate, ...) in one epoch; `draw` numbers further quadruples.
  [[nodiscard]] std::array<std::uint32_t, 4> words(std::uint32_t epoch, std::uint64_t item,
                                                   std::uint32_t draw = 0) const noexcept;
  /// 64 random bits.
  [[nodiscard]] std::uint64_t bits(std::uint32_t epoch, std::uint64_t item, std::uint32_t draw = 0) const noexcept;
  /// Uniform in [0, 1), 53 bits.
  [[nodiscard]] double uniform(std::uint32_t epoch, std::uint64_t item, std::uint32_t draw = 0) const noexcept;
  /// Uniform in [0, bound); bound > 0.
  [[nodiscard]] std::uint64_t below(std::uint64_t bound, std::uint32_t epoch, std::uint64_t item,
                                    std::uint32_t draw = 0) const noexcept;

 private:
  std::array<std::uint32_t, 2> key_;
};

/// 0 ... count-1 in random order (Fisher-Yates); a pure function of its arguments.
[[nodiscard]] std::vector<std::uint32_t> permutation(std::uint32_t count, const Random& random, std::uint32_t epoch);

}  // namespace virga
