#pragma once

#include <string_view>

namespace virga {

/// A named place at which tests kill a process: with the environment variable VIRGA_CRASH_AT=name:n, it dies as by kill
/// -9 at the n-th passage of that name. Nothing happens otherwise; costs a load.
void crash_point(std::string_view name) noexcept;

}  // namespace virga
