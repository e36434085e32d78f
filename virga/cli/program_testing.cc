#include "virga/cli/program_testing.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace virga {
namespace {

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  result.reserve(words.size() + 1);
  for (auto& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

/// Reads both until both have ended, so that neither fills up.
void read_both(int out, int err, ProgramResult& result) {
  pollfd waited[] = {{out, POLLIN, 0}, {err, POLLIN, 0}};
  std::string* texts[] = {&result.out, &result.err};
  while (waited[0].fd >= 0 || waited[1].fd >= 0) {
    if (::poll(waited, 2, -1) < 0 && errno != EINTR) break;
    for (int i = 0; i < 2; ++i) {
      if (waited[i].fd < 0 || waited[i].revents == 0) continue;
      char buffer[4096];
      const auto count = ::read(waited[i].fd, buffer, sizeof(buffer));
      if (count > 0) texts[i]->append(buffer, static_cast<std::size_t>(count));
      if (count == 0) waited[i].fd = -1;
    }
  }
}

}  // namespace

ProgramResult run_program(const std::vector<std::string>& arguments, const std::filesystem::path& folder,
                          const std::vector<std::string>& variables, const std::string& command) {
  const char* programs = std::getenv("VIRGA_BIN_DIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  if (programs == nullptr) throw std::runtime_error("VIRGA_BIN_DIR is not set; run the test by ctest");
  std::vector<std::string> words{command.empty() ? std::string(programs) + "/virga" : command};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environment{"PATH=" + std::string(programs) + ":/usr/bin:/bin", "HOME=" + folder.string(),
                                       "VIRGA_HOME=" + (folder / "home").string(),
                                       // The quickest; tests of functions say which engine they want.
                                       "VIRGA_FUNCTIONS_ENGINE=single"};
  std::erase_if(environment, [&](const std::string& one) {
    const auto name = one.substr(0, one.find('=') + 1);
    return std::ranges::any_of(variables, [&](const auto& other) { return other.starts_with(name); });
  });
  environment.insert(environment.end(), variables.begin(), variables.end());
  const auto argv = pointers(words);
  const auto envp = pointers(environment);
  int out[2];
  int err[2];
  if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0)
    throw std::system_error(errno, std::generic_category());
  const auto child = ::fork();
  if (child == 0) {
    if (::chdir(folder.c_str()) != 0) ::_exit(99);
    ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
    ::dup2(out[1], STDOUT_FILENO);
    ::dup2(err[1], STDERR_FILENO);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(98);
  }
  ::close(out[1]);
  ::close(err[1]);
  ProgramResult result;
  read_both(out[0], err[0], result);
  ::close(out[0]);
  ::close(err[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  result.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return result;
}

TemporaryFolder::TemporaryFolder() {
  std::string name = testing::TempDir() + "virga_cli_XXXXXX";
  path_ = ::mkdtemp(name.data());
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void TemporaryFolder::write(const std::string& name, const std::string& text) const {
  std::ofstream(path_ / name, std::ios::binary) << text;
}

}  // namespace virga
