#pragma once

#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

namespace virga {

/// A file that is written piece by piece and appears at its path whole, or not at all: the pieces go to a temporary
/// file beside it, which commit() puts in its place; without commit() it is deleted. A path that leads to something
/// other than a regular file (/dev/stdout, a pipe) is written to directly. Members throw Error(kIo, kNotFound).
class OutputFile {
 public:
  explicit OutputFile(const std::filesystem::path& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::string_view text);
  void commit();

 private:
  [[noreturn]] void fail() const;

  const std::filesystem::path path_;
  std::string temporary_;  // empty: none
  std::FILE* file_ = nullptr;
};

}  // namespace virga
