#pragma once

namespace virga::sandbox_init {

/// Sends SIGKILL to the children of this process, where there is no namespace that would do it in one stroke. System
/// calls only. What they have started becomes this process's, so: to be repeated until it has no child.
void kill_children() noexcept;

}  // namespace virga::sandbox_init
