#include "virga/base/file.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/base/crash_point.h"

namespace virga {
namespace {

/// Closes on destruction, so that no path through an error leaks a descriptor.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const noexcept { return number_; }
  [[nodiscard]] int release() noexcept { return std::exchange(number_, -1); }

 private:
  int number_;
};

void write_all(int descriptor, ByteView bytes, const std::string& name) {
  while (!bytes.empty()) {
    const auto written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw system_error("cannot write " + name, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

/// Writes as many of `bytes` as it can past the page cache, and returns the rest. For what is waited for until it is on
/// the disk: filling the cache as well takes up to five times as long (docs/decisions/past-the-page-cache.md).
[[nodiscard]] ByteView write_past_page_cache(int descriptor, ByteView bytes) noexcept {
  constexpr std::size_t kWorthIt = std::size_t{1} << 20;
  constexpr std::size_t kChunk = std::size_t{1} << 19;
  constexpr std::size_t kAlignment = 4096;  // of memory, sizes and offsets; more than most disks ask for
  if (bytes.size() < kWorthIt) return bytes;
  const int flags = ::fcntl(descriptor, F_GETFL);
  if (flags < 0 || ::fcntl(descriptor, F_SETFL, flags | O_DIRECT) != 0) return bytes;
  const std::unique_ptr<void, decltype(&std::free)> buffer(std::aligned_alloc(kAlignment, kChunk), &std::free);
  while (buffer && bytes.size() >= kAlignment) {
    const auto size = std::min(bytes.size() / kAlignment * kAlignment, kChunk);
    std::memcpy(buffer.get(), bytes.data(), size);
    const auto written = ::write(descriptor, buffer.get(), size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;  // whoever writes the rest finds out why
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    if (static_cast<std::size_t>(written) % kAlignment != 0) break;
  }
  ::fcntl(descriptor, F_SETFL, flags);
  return bytes;
}

}  // namespace

Bytes read_file(const std::filesystem::path& path, std::uint64_t limit) {
  const ReadableFile file(path);
  if (file.size() > limit) {
    throw Error(ErrorKind::kTooLarge, fmt::format("{}: {} bytes, the limit is {}", path.string(), file.size(), limit));
  }
  Bytes bytes(file.size());
  bytes.resize(file.read_at(0, bytes));
  return bytes;
}

void check_can_write_file(const std::filesystem::path& path) {
  const auto status = std::filesystem::status(path);
  const auto refuse = [&](const char* why, const char* remedy) {
    throw Error(ErrorKind::kUsage, fmt::format("cannot write {}: {}", path.string(), why), remedy);
  };
  if (std::filesystem::is_directory(status)) refuse("it is a directory", "give the name of a file");
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    if (::access(path.c_str(), W_OK) != 0) refuse("permission denied", "choose another place");
    return;
  }
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  if (!std::filesystem::is_directory(folder)) refuse("its directory does not exist", "create it, or correct the path");
  if (::access(folder.c_str(), W_OK) != 0) refuse("its directory may not be written to", "choose another place");
}

void check_replaces_no_input(const std::filesystem::path& path, std::span<const std::string> inputs) {
  for (const auto& input : inputs) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(input, error) || !std::filesystem::equivalent(path, input, error)) continue;
    throw Error(ErrorKind::kUsage, fmt::format("cannot write {}: it is read, too", path.string()),
                "give the output another name");
  }
}

void write_file_atomically(const std::filesystem::path& path, ByteView bytes, bool durable) {
  const auto name = path.string();
  const auto status = std::filesystem::status(path);
  if (std::filesystem::is_directory(status)) {
    throw Error(ErrorKind::kUsage, fmt::format("cannot write {}: it is a directory", name), "give the name of a file");
  }
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    Descriptor file(::open(name.c_str(), O_WRONLY | O_CLOEXEC));
    if (file.get() < 0) throw system_error("cannot write " + name, errno);
    return write_all(file.get(), bytes, name);
  }
  auto temporary = (path.parent_path() / ("." + path.filename().string() + ".XXXXXX")).string();
  Descriptor file(::mkostemp(temporary.data(), O_CLOEXEC));
  if (file.get() < 0) throw system_error("cannot write " + name, errno);
  try {
    write_all(file.get(), durable ? write_past_page_cache(file.get(), bytes) : bytes, name);
    if (::fchmod(file.get(), 0644) != 0 || (durable && ::fsync(file.get()) != 0))
      throw system_error("cannot write " + name, errno);
    if (::close(file.release()) != 0) throw system_error("cannot write " + name, errno);
    crash_point("before_rename");
    if (::rename(temporary.c_str(), name.c_str()) != 0) throw system_error("cannot write " + name, errno);
    crash_point("after_rename");
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

void make_durable(const std::filesystem::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 || ::fsync(file.get()) != 0) throw system_error("cannot write " + path.string(), errno);
}

void copy_file_atomically(const std::filesystem::path& from, const std::filesystem::path& path, ByteView bytes) {
  const auto temporary = path.parent_path() / fmt::format(".{}.{}.link", path.filename().string(), ::getpid());
  const auto is_regular = [](const auto& file) {
    return std::filesystem::is_regular_file(std::filesystem::symlink_status(file));
  };
  const bool replaceable = is_regular(path) || !std::filesystem::exists(std::filesystem::symlink_status(path));
  if (is_regular(from) && replaceable && ::link(from.c_str(), temporary.c_str()) == 0) {
    // If both names are one file already, rename does nothing and leaves the temporary name.
    const bool renamed = ::rename(temporary.c_str(), path.c_str()) == 0;
    ::unlink(temporary.c_str());
    if (renamed) return;
  }
  write_file_atomically(path, bytes);
}

ReadableFile::ReadableFile(const std::filesystem::path& path) : path_(path), descriptor_(-1), size_(0) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) throw system_error("cannot read " + path.string(), errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw system_error("cannot read " + path.string(), errno);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::kBadData, fmt::format("cannot read {}: it is not a regular file", path.string()));
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
  descriptor_ = file.release();
}

ReadableFile::~ReadableFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

ReadableFile::ReadableFile(ReadableFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

ReadableFile& ReadableFile::operator=(ReadableFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

std::size_t ReadableFile::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const auto count = ::pread(descriptor_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw system_error("cannot read " + path_.string(), errno);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

}  // namespace virga
