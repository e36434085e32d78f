// Writing a ledger: ledger.h, the half that touches a file.
#include <array>
#include <cerrno>
#include <span>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virga/base/error.h"
#include "virga/cost/ledger.h"

namespace virga {
namespace {

/// Where the last whole line ends: after the last newline, at 0 without one. -1, and errno, if it cannot be read.
off_t end_of_lines(int descriptor, off_t size) {
  std::array<char, 4096> block;
  while (size > 0) {
    const auto count = std::min<off_t>(size, block.size());
    const auto got = ::pread(descriptor, block.data(), static_cast<std::size_t>(count), size - count);
    if (got < 0 && errno == EINTR) continue;
    if (got != count) return -1;
    const auto newline = std::string_view(block.data(), static_cast<std::size_t>(got)).rfind('\n');
    if (newline != std::string_view::npos) return size - count + static_cast<off_t>(newline) + 1;
    size -= count;
  }
  return 0;
}

}  // namespace

LedgerWriter::LedgerWriter(const std::filesystem::path& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw system_error("cannot write " + path.string(), errno);
  const auto fail = [&](Error error) {
    ::close(descriptor_);
    throw error;
  };
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      fail(Error(ErrorKind::kConflict, "another program writes to " + path.string(),
                 "wait for its end, or stop it: a run has one driver"));
    }
    fail(system_error("cannot lock " + path.string(), errno));
  }
  struct stat status {};
  errno = EIO;
  const auto size = ::fstat(descriptor_, &status) == 0 ? end_of_lines(descriptor_, status.st_size) : -1;
  if (size < 0 || (size < status.st_size && ::ftruncate(descriptor_, size) != 0)) {
    fail(system_error("cannot write " + path.string(), errno));
  }
  size_ = static_cast<std::uint64_t>(size);
}

LedgerWriter::~LedgerWriter() { ::close(descriptor_); }

void LedgerWriter::append(std::string_view line) {
  const auto restore = [&] { torn_ = torn_ && ::ftruncate(descriptor_, static_cast<off_t>(size_)) != 0; };
  restore();
  if (torn_) throw system_error("cannot write " + path_.string(), errno);
  for (auto rest = line; !rest.empty();) {
    const auto written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int error = written == 0 ? ENOSPC : errno;
      restore();
      throw system_error("cannot write " + path_.string(), error);
    }
    torn_ = true;
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  torn_ = false;
  size_ += line.size();
}

void LedgerWriter::make_durable() {
  if (::fsync(descriptor_) != 0) throw system_error("cannot write " + path_.string(), errno);
}

}  // namespace virga
