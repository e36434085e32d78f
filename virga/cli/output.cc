#include "virga/cli/output.h"

#include <algorithm>
#include <cerrno>
#include <csignal>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "virga/base/error.h"

namespace virga {

void prepare_standard_streams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // The lowest free number is taken, so a closed stream is replaced by one that refuses what it is used for.
    if (::fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) {
      static_cast<void>(::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY));
    }
  }
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
}

void write_stdout(std::string_view text) {
  while (!text.empty()) {
    const auto written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EPIPE) throw OutputClosed();
    if (written < 0) throw system_error("cannot write to standard output", errno);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void write_stderr(std::string_view text) noexcept {
  while (!text.empty()) {
    const auto written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

bool is_terminal(int descriptor) noexcept { return ::isatty(descriptor) == 1; }

unsigned terminal_width(int descriptor) noexcept {
  winsize size{};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 100;
  return std::clamp<unsigned>(size.ws_col, 40, 200);
}

std::string wrap(std::string_view text, std::size_t width, std::size_t indent) {
  std::string out;
  std::size_t column = indent;
  const auto start_line = [&] {
    out += '\n';
    out.append(indent, ' ');
    column = indent;
  };
  while (!text.empty()) {
    if (text.front() == '\n') {
      start_line();
      text.remove_prefix(1);
      if (!text.starts_with(' ')) continue;
      const auto end = std::min(text.find('\n'), text.size());  // an example: as it stands
      out += text.substr(0, end);
      text.remove_prefix(end);
      continue;
    }
    const auto end = std::min(text.find_first_of(" \n"), text.size());
    const auto word = text.substr(0, end);
    if (column > indent && column + 1 + word.size() > width) start_line();
    if (column > indent) out += ' ', ++column;
    out += word;
    column += word.size();
    text.remove_prefix(end);
    if (text.starts_with(' ')) text.remove_prefix(1);
  }
  return out;
}

}  // namespace virga
