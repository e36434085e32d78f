#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "virga/channel/channel.h"

namespace virga {

/// The channel at `uri` for `job`: "directory:PATH", or "ps:" and the address of a virga-ps ("ps:unix:PATH",
/// "ps:tcp:HOST:PORT"). `token` is for those that want one. Throws Error(kUsage) for a
/// malformed uri, kUnsupported for a kind that is not built, and what connecting throws.
[[nodiscard]] std::unique_ptr<Channel> open_channel(std::string_view uri, std::string_view job,
                                                    const std::string& token);

}  // namespace virga
