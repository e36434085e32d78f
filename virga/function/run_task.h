#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "virga/base/memory.h"
#include "virga/function/payload.h"

namespace virga {

/// Does what the payload says; what goes wrong stands in the answer. `token` opens the job's channel, where it needs
/// one. Nothing of an invocation is left for the next one in the same process, which is charged for what the process
/// has used beyond `charged`. `log` is told when a worker's first step was applied.
[[nodiscard]] Answer run_task(const Payload& payload, const std::string& token, const ProcessUsage& charged = {},
                              const std::function<void(std::string_view)>& log = {}) noexcept;

}  // namespace virga
