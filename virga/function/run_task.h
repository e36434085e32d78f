#pragma once

#include "virga/base/memory.h"
#include "virga/function/payload.h"

namespace virga {

/// Does what the payload says; what goes wrong stands in the answer. `token` opens the job's channel, where it needs
/// one. Nothing of an invocation is left for the next one in the same process, which is charged for what the process
/// has used beyond `charged`.
[[nodiscard]] Answer run_task(const Payload& payload, const std::string& token,
                              const ProcessUsage& charged = {}) noexcept;

}  // namespace virga
