#pragma once

#include <string_view>

namespace virga {

/// A named place at which tests kill or stop a function: with the environment variable VIRGA_CRASH_AT=name:n, its
/// process dies as by kill -9 at the n-th passage of that name, with VIRGA_EAT_AT=name:n it takes memory there until it
/// is killed for it, with VIRGA_STOP_AT=name:n it stops there until somebody sends SIGCONT. If there is
/// VIRGA_CRASH_WHILE as well, only while the file that it names is there. Nothing happens otherwise, nor before
/// arm_crash_points(); costs a load.
void crash_point(std::string_view name) noexcept;

/// Called by main() of a function, before it has other threads: what drives it, tests included, is not to die.
void arm_crash_points();

}  // namespace virga
