#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "virga/base/bytes.h"

namespace virga {

/// The whole file. Throws Error(kNotFound, kIo), naming the path; kTooLarge beyond `limit`.
[[nodiscard]] Bytes read_file(const std::filesystem::path& path, std::uint64_t limit = std::uint64_t{1} << 40);

/// Puts `bytes` at `path`, all or nothing: a temporary file beside it, fsync (unless `durable` is false), rename. A
/// crash leaves the old file or the new one, and at worst a temporary file whose name begins with '.'. What is neither
/// a regular file nor a folder (/dev/stdout, a pipe) is written to directly. Large durable files go past the page cache
/// where the file system lets them. Throws Error(kIo, kNotFound), kUsage for a folder.
void write_file_atomically(const std::filesystem::path& path, ByteView bytes, bool durable = true);

/// Waits until a file that was put there without is on the disk. Throws Error(kIo).
void make_durable(const std::filesystem::path& path);

/// Puts `bytes`, which write_file_atomically() has put at `from`, at `path` as well, all or nothing: as a second name
/// of the same file where the file system allows it. Both are only ever replaced, never written to, so neither sees
/// what becomes of the other. Throws as write_file_atomically().
void copy_file_atomically(const std::filesystem::path& from, const std::filesystem::path& path, ByteView bytes);

/// Throws Error(kUsage), naming the path, if write_file_atomically() could not put a file there: it is a folder, or its
/// folder is missing or may not be written to. To be asked before long work.
void check_can_write_file(const std::filesystem::path& path);

/// Throws Error(kUsage), naming `path`, if what is written there would replace one of `inputs`, by whatever name.
/// Inputs that are no regular files are passed over.
void check_replaces_no_input(const std::filesystem::path& path, std::span<const std::string> inputs);

/// A file that is open for reading, positioned reads only; threads may share it.
class ReadableFile {
 public:
  explicit ReadableFile(const std::filesystem::path& path);
  ~ReadableFile();
  ReadableFile(ReadableFile&& other) noexcept;
  ReadableFile& operator=(ReadableFile&& other) noexcept;
  ReadableFile(const ReadableFile&) = delete;
  ReadableFile& operator=(const ReadableFile&) = delete;

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// Reads at most out.size() bytes at `offset`; the number read is smaller only at the end of the file.
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> out) const;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
  int descriptor_;
  std::uint64_t size_;
};

}  // namespace virga
