#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/error.h"
#include "virga/base/shared_bytes.h"

namespace virga {

// What DirectoryChannel and DirectoryRegister do with files that several processes, on several machines, use at once.

/// Error for a failed system call on such a file: kTooLarge for a full disk or quota, kCorrupt where something else
/// stands in the place of a file or folder, else as system_error().
[[nodiscard]] Error directory_error(const std::string& what, int error_number);

/// The number that `digits` are in hexadecimal, lower case, in exactly `width` digits; none for any other text.
[[nodiscard]] std::optional<std::uint64_t> parse_hex(std::string_view digits, std::size_t width) noexcept;

/// The names in `folder`, in no order; empty if there is no such folder.
[[nodiscard]] std::vector<std::string> names_in(const std::string& folder);

/// The file's bytes; none if it is not there. Throws Error(kCorrupt) for what is not a regular file, or longer than
/// `limit`.
[[nodiscard]] std::optional<SharedBytes> read_if_there(const std::string& path, std::uint64_t limit);

/// Deletes a file; what is not there, or not a file, is left.
void remove_if_there(const std::string& path);

/// Creates `folder` and what is missing above it. It may have been removed again by somebody who sweeps.
void make_folders(const std::string& folder);

/// A new file of `parts`, closed, in `folder` (created if needed). Its name is unlike any other: '.', `prefix` and 16
/// random digits. The destructor deletes it, unless it was kept.
class TemporaryFile {
 public:
  TemporaryFile(const std::string& folder, std::span<const ByteView> parts, std::string_view prefix = "");
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// The random digits.
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  void keep() noexcept { kept_ = true; }

 private:
  std::uint64_t number_ = 0;
  std::string path_;
  bool kept_ = false;
};

/// 64 bits that no other process has drawn; never 0.
[[nodiscard]] std::uint64_t random_number();

/// Deletes the temporary file `path` if it was last written an hour ago or more: its process is dead. (Younger ones may
/// be about to get their name. A clock that is wrong by an hour does no more harm than a put that is made again.)
void remove_if_abandoned(const std::string& path);

}  // namespace virga
