#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace virga {

struct ProgramResult {
  int exit_code = -1;  ///< 128 + signal when a signal ended it
  std::string out;
  std::string err;
};

/// Starts $VIRGA_BIN_DIR/virga, or what `command` names, with `arguments` and nothing in its environment but PATH, HOME
/// and VIRGA_HOME (both `home`) and `variables` ("NAME=value"), which go before these, in `folder`; waits for its end.
[[nodiscard]] ProgramResult run_program(const std::vector<std::string>& arguments, const std::filesystem::path& folder,
                                        const std::vector<std::string>& variables = {},
                                        const std::string& command = "");

/// A folder of its own, deleted in the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  void write(const std::string& name, const std::string& text) const;

 private:
  std::filesystem::path path_;
};

}  // namespace virga
