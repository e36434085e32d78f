#pragma once

#include <cstdint>
#include <string>

#include <CLI/App.hpp>

namespace virga {

/// Declares `flag`, which takes a whole number from 0 on into `value`; all else is refused. (CLI11's own reading takes
/// -1 for the largest number.) `value` must outlive `app`.
CLI::Option* add_count(CLI::App& app, const std::string& flag, std::uint64_t& value, const std::string& text);

}  // namespace virga
