#pragma once

#include <string_view>

namespace virga {

/// A named place at which tests kill or stop a process: with the environment variable VIRGA_CRASH_AT=name:n, it dies as
/// by kill -9 at the n-th passage of that name, with VIRGA_STOP_AT=name:n it stops there until somebody sends SIGCONT.
/// Nothing happens otherwise; costs a load.
void crash_point(std::string_view name) noexcept;

}  // namespace virga
