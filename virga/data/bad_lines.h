#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "virga/data/parsed_rows.h"

namespace virga {

/// Counts bad lines of several threads and decides when they are too many.
class BadLines {
 public:
  explicit BadLines(std::uint64_t tolerated) : tolerated_(tolerated) {}

  /// Takes over the bad lines of a chunk of `files`; false if there are now more than are tolerated. Threads that take
  /// chunks in order and stop at false have seen all chunks before the first that was too bad.
  [[nodiscard]] bool add(const ParsedRows& rows, const std::vector<std::string>& files);
  [[nodiscard]] bool too_many() const noexcept { return count_ > tolerated_; }
  /// Throws Error(kBadData) that quotes the first ones, if there are more than are tolerated. After all threads are
  /// done.
  void check() const;

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// At most ParsedRows::kQuoted, in the order of files and lines.
  [[nodiscard]] std::vector<std::string> first() const;

 private:
  const std::uint64_t tolerated_;
  std::atomic<std::uint64_t> count_{0};
  mutable std::mutex mutex_;  // guards first_
  struct Quoted {
    BadLine bad;
    std::string text;
  };
  std::vector<Quoted> first_;
};

}  // namespace virga
