#include "virga/training/output_file.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virga/base/error.h"
#include "virga/base/file.h"

namespace virga {

OutputFile::OutputFile(const std::filesystem::path& path) : path_(path) {
  check_can_write_file(path);
  const auto status = std::filesystem::status(path);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    file_ = std::fopen(path.c_str(), "we");
    if (file_ == nullptr) fail();
    return;
  }
  temporary_ = (path.parent_path() / ("." + path.filename().string() + ".XXXXXX")).string();
  const int descriptor = ::mkostemp(temporary_.data(), O_CLOEXEC);
  if (descriptor < 0) {
    temporary_.clear();
    fail();
  }
  file_ = ::fdopen(descriptor, "w");
  check(file_ != nullptr, "an open descriptor makes a stream");
}

OutputFile::~OutputFile() {
  if (file_ != nullptr) std::fclose(file_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void OutputFile::fail() const { throw system_error("cannot write " + path_.string(), errno); }

void OutputFile::write(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), file_) != text.size()) fail();
}

void OutputFile::commit() {
  if (std::fflush(file_) != 0) fail();
  if (!temporary_.empty() && (::fchmod(::fileno(file_), 0644) != 0 || ::fsync(::fileno(file_)) != 0)) fail();
  const bool closed = std::fclose(file_) == 0;
  file_ = nullptr;
  if (!closed) fail();
  if (temporary_.empty()) return;
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail();
  temporary_.clear();
}

}  // namespace virga
