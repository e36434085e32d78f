#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace virga {

/// The root of the sources, for tests that read files of it: $VIRGA_SOURCE_DIR, which ctest sets, else the directory in
/// which the test was started.
inline std::filesystem::path source_folder() {
  const char* folder = std::getenv("VIRGA_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  return folder != nullptr ? folder : ".";
}

/// Runs Debian's Python, for which the packages that tests need are installed, and returns what it prints. `arguments`
/// goes through a shell. Throws std::runtime_error if Python fails (its message goes to stderr).
inline std::string run_python(const std::string& arguments) {
  FILE* pipe = ::popen(("OPENBLAS_NUM_THREADS=1 /usr/bin/python3 " + arguments).c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("cannot start /usr/bin/python3");
  std::string output;
  char piece[4096];
  for (std::size_t count = 0; (count = std::fread(piece, 1, sizeof piece, pipe)) > 0;) output.append(piece, count);
  if (::pclose(pipe) != 0) throw std::runtime_error("python3 failed: " + arguments);
  return output;
}

}  // namespace virga
