#pragma once

#include <atomic>
#include <filesystem>

#include "virga/channel/register.h"

namespace virga {

/// Registers as files in a folder of a local or shared file system, for all who see the folder
/// (docs/formats/channel-directory.md). A register is a folder with one file, the pointer, whose name is the version
/// and a random number: the name of the file that has the value, but for a '.' before that. To write is to put the new
/// value beside the old one and to rename the pointer: of several that rename the same pointer exactly one finds it,
/// however long the others have slept, so compare_exchange() is safe among processes and machines. (With a file for
/// each version, made by link(), it would not be: a version that has been deleted could be made again.) A process that
/// dies leaves at worst a file whose name begins with '.'. Nothing is synced to disk. Versions of a removed register go
/// on where they ended.
///
/// Cost: a read lists a folder of two files and reads one; a write adds 6 system calls. wait_newer() polls with a
/// back-off (see Polling). Throws Error(kIo) as well, for what the operating system refuses.
class DirectoryRegister final : public Register {
 public:
  /// Neither touches nor creates anything: the first write does.
  explicit DirectoryRegister(const std::filesystem::path& root, std::size_t max_value_bytes = std::size_t{1} << 30);

  [[nodiscard]] std::optional<RegisterValue> read(std::string_view name, const Wait& wait) override;
  std::uint64_t write(std::string_view name, ByteView bytes, const Wait& wait) override;
  [[nodiscard]] std::optional<std::uint64_t> compare_exchange(std::string_view name, std::uint64_t expected,
                                                              ByteView bytes, const Wait& wait) override;
  [[nodiscard]] RegisterValue wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) override;
  void remove(std::string_view name, const Wait& wait) override;
  [[nodiscard]] std::size_t max_value_bytes() const noexcept override { return max_value_bytes_; }
  [[nodiscard]] const std::string& uri() const noexcept override { return uri_; }

  /// How often wait_newer() has looked and found nothing newer.
  [[nodiscard]] std::uint64_t polls() const noexcept { return polls_; }

 private:
  void check_size(std::string_view name, ByteView bytes) const;

  const std::string uri_;  // the folder
  const std::size_t max_value_bytes_;
  std::atomic<std::uint64_t> polls_ = 0;
};

}  // namespace virga
