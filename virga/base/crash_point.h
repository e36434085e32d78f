#pragma once

#include <string_view>

namespace virga {

/// A named place at which tests kill or stop a function: with the environment variable VIRGA_CRASH_AT=name:n, its
/// process dies as by kill -9 at the n-th passage of that name, with VIRGA_EAT_AT=name:n it takes memory there until it
/// is killed for it, with VIRGA_STOP_AT=name:n it stops there until somebody sends SIGCONT. If there is
/// VIRGA_CRASH_TOKENS as well, it takes away one of the files 0, 1, ... of the folder that it names first, and goes on
/// if there is none left: so many die, whoever they are. Nothing happens otherwise, nor before arm_crash_points();
/// costs a load.
void crash_point(std::string_view name) noexcept;

/// Called by main() of a function, before it has other threads: what drives it, tests included, is not to die.
void arm_crash_points();

}  // namespace virga
