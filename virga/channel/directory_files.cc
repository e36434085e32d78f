#include "virga/channel/directory_files.h"

#include <cerrno>
#include <charconv>
#include <chrono>
#include <memory>
#include <system_error>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/base/system_random.h"

namespace virga {
namespace {

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

void write_all(int descriptor, ByteView bytes, const std::string& path) {
  while (!bytes.empty()) {
    const auto written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw directory_error("cannot write " + path, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

}  // namespace

Error directory_error(const std::string& what, int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return {ErrorKind::kTooLarge, what + ": " + std::generic_category().message(error_number),
              "free some space, raise the quota, or choose another disk"};
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENXIO:
      return {ErrorKind::kCorrupt,
              what + ": something else stands there: " + std::generic_category().message(error_number),
              "give the channel a folder of its own"};
    default:
      return system_error(what, error_number);
  }
}

std::optional<std::uint64_t> parse_hex(std::string_view digits, std::size_t width) noexcept {
  if (digits.size() != width) return std::nullopt;
  for (const char digit : digits) {
    if (!(digit >= '0' && digit <= '9') && !(digit >= 'a' && digit <= 'f')) return std::nullopt;
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::vector<std::string> names_in(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(folder.c_str()), ::closedir);
  if (!stream) {
    if (errno == ENOENT || errno == ENOTDIR) return {};
    throw directory_error("cannot list " + folder, errno);
  }
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const auto* entry = ::readdir(stream.get());  // NOLINT(concurrency-mt-unsafe): a stream of this thread alone
    if (entry == nullptr && (errno == 0 || errno == ENOENT || errno == ESTALE)) return names;
    if (entry == nullptr) throw directory_error("cannot list " + folder, errno);
    if (const std::string_view name = entry->d_name; name != "." && name != "..") names.emplace_back(name);
  }
}

std::optional<SharedBytes> read_if_there(const std::string& path, std::uint64_t limit) {
  // Not blocked by a pipe of that name, nor led astray by a link.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (file.get() < 0 && (errno == ENOENT || errno == ESTALE)) return std::nullopt;
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) throw directory_error("cannot read " + path, errno);
  if (!S_ISREG(status.st_mode)) throw Error(ErrorKind::kCorrupt, path + ": it is not a regular file");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > limit) {
    throw Error(ErrorKind::kCorrupt, fmt::format("{}: {} bytes, but {} is the most", path, size, limit));
  }
  bool vanished = false;
  auto bytes = SharedBytes::make(size, [&](std::span<std::byte> to) {
    while (!to.empty()) {
      const auto count = ::read(file.get(), to.data(), to.size());
      if (count < 0 && errno == EINTR) continue;
      vanished = count < 0 && errno == ESTALE;  // on a network file system: deleted after it was opened
      if (vanished) return;
      if (count < 0) throw directory_error("cannot read " + path, errno);
      if (count == 0) throw Error(ErrorKind::kCorrupt, path + ": it became shorter while it was read");
      to = to.subspan(static_cast<std::size_t>(count));
    }
  });
  if (vanished) return std::nullopt;
  return bytes;
}

void remove_if_there(const std::string& path) {
  if (::unlink(path.c_str()) == 0) return;
  if (errno == ENOENT || errno == ENOTDIR || errno == EISDIR || errno == ESTALE) return;
  throw directory_error("cannot delete " + path, errno);
}

void make_folders(const std::string& folder) {
  // Not create_directories(), which is confused by folders that a sweep removes meanwhile.
  if (::mkdir(folder.c_str(), 0777) == 0 || errno == EEXIST) return;
  if (errno != ENOENT) throw directory_error("cannot create " + folder, errno);
  const auto parent = folder.rfind('/');
  if (parent == std::string::npos || parent == 0) throw directory_error("cannot create " + folder, ENOENT);
  make_folders(folder.substr(0, parent));
  if (::mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST && errno != ENOENT) {
    throw directory_error("cannot create " + folder, errno);
  }
}

std::uint64_t random_number() {
  std::uint64_t number = 0;
  while (number == 0) fill_with_system_random(std::as_writable_bytes(std::span(&number, 1)));
  return number;
}

TemporaryFile::TemporaryFile(const std::string& folder, std::span<const ByteView> parts, std::string_view prefix) {
  // The folder may be missing, or be removed by a sweep between its creation and the file's.
  constexpr int kMostAttempts = 100;
  int number = -1;
  for (int attempt = 0; number < 0; ++attempt) {
    number_ = random_number();
    path_ = fmt::format("{}/.{}{:016x}", folder, prefix, number_);
    number = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (number >= 0) break;
    if ((errno != ENOENT && errno != EEXIST) || attempt == kMostAttempts) {
      throw directory_error("cannot create " + path_, errno);
    }
    make_folders(folder);
  }
  Descriptor file(number);
  try {
    for (const auto& part : parts) write_all(file.get(), part, path_);
    // A network file system writes, and finds the disk full, when a file is closed.
    if (::close(file.release()) != 0) throw directory_error("cannot write " + path_, errno);
  } catch (...) {
    ::unlink(path_.c_str());
    throw;
  }
}

TemporaryFile::~TemporaryFile() {
  if (!kept_) ::unlink(path_.c_str());
}

void remove_if_abandoned(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return;
  const auto written = std::chrono::system_clock::from_time_t(status.st_mtim.tv_sec);
  if (std::chrono::system_clock::now() - written >= std::chrono::hours(1)) remove_if_there(path);
}

}  // namespace virga
