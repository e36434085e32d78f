#include "virga/cli/count_flag.h"

#include <charconv>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace virga {

CLI::Option* add_count(CLI::App& app, const std::string& flag, std::uint64_t& value, const std::string& text) {
  const auto read = [&value, flag](const std::string& word) {
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error == std::errc() && end == word.data() + word.size()) return;
    throw CLI::ValidationError(fmt::format("{}: '{}' is not a whole number from 0 on", flag, word));
  };
  return app.add_option_function<std::string>(flag, read, text)->type_name("N");
}

}  // namespace virga
