#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace virga {

/// Whoever read our standard output has gone (`virga ... | head`): the program ends quietly.
class OutputClosed : public std::runtime_error {
 public:
  OutputClosed() : std::runtime_error("standard output was closed by its reader") {}
};

/// Before anything else: makes descriptors 0, 1 and 2 occupied, so that no file of ours gets the number of a closed
/// standard stream and then a stream's text; and turns SIGPIPE into an error of write().
void prepare_standard_streams();

/// All of `text`, now. Throws OutputClosed, Error(kIo).
void write_stdout(std::string_view text);
/// As much of `text` as can be written; what cannot be told to anybody is dropped.
void write_stderr(std::string_view text) noexcept;

[[nodiscard]] bool is_terminal(int descriptor) noexcept;
/// Columns of the terminal at `descriptor`, within [40, 200]; 100 where there is none.
[[nodiscard]] unsigned terminal_width(int descriptor) noexcept;

/// `text` with lines of at most `width` columns, broken at spaces; each line but the first begins with `indent` spaces.
/// Lines that begin with a space, as examples do, are left alone.
[[nodiscard]] std::string wrap(std::string_view text, std::size_t width, std::size_t indent = 0);

}  // namespace virga
