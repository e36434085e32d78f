#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "virga/data/manifest.h"

namespace virga {

/// The bytes of one input file from beginning to end, unpacked on the way if its first bytes say that it is gzip
/// (RFC 1952, several members one after the other too) or Zstandard (RFC 8878, several frames too). Holds less than a
/// megabyte, and the window that a Zstandard frame asks for (at most 128 MiB). For one thread, raw_bytes() for all.
class ByteStream {
 public:
  /// Opens `path`, "-" being the standard input. Throws Error(kNotFound, kIo).
  explicit ByteStream(const std::string& path);
  ~ByteStream();
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;

  /// Fills `out`; the number of bytes is smaller only at the end. Throws Error(kBadData) where packed data are damaged
  /// or cut short, Error(kIo).
  [[nodiscard]] std::size_t read(std::span<char> out);

  /// Bytes of the file itself that have been read so far.
  [[nodiscard]] std::uint64_t raw_bytes() const noexcept;
  /// Path, size and checksum; complete once read() has met the end.
  [[nodiscard]] SourceInfo source() const;

  class Raw;
  class Decoder;

 private:
  std::unique_ptr<Raw> raw_;
  std::unique_ptr<Decoder> decoder_;
};

/// Size of the file at `path`; 0 for what has none ("-", a pipe). Throws Error(kNotFound, kIo).
[[nodiscard]] std::uint64_t input_file_size(const std::string& path);

/// The first bytes of a file, unpacked: what a format is recognised by.
[[nodiscard]] std::string read_head(const std::string& path, std::size_t bytes = std::size_t{1} << 16);

}  // namespace virga
