#pragma once

#include "virga/function/payload.h"

namespace virga {

/// Does what the payload says; what goes wrong stands in the answer. `token` opens the job's channel, where it needs
/// one.
[[nodiscard]] Answer run_task(const Payload& payload, const std::string& token) noexcept;

}  // namespace virga
