#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "virga/channel/message_key.h"

namespace virga {

/// The name of a message in a store that names values by text (docs/formats/message.md): the members of its key in
/// hexadecimal digits, of a fixed number, lower case: "VIEW/GROUP/SOURCE/ROUND-PHASE-DESTINATION-PART". Names have the
/// order of keys.
[[nodiscard]] std::string message_name(const MessageKey& key);
/// None for any other text.
[[nodiscard]] std::optional<MessageKey> parse_message_name(std::string_view name) noexcept;

/// Characters of a message's name.
constexpr std::size_t kMessageNameChars = 66;

/// The least name of a message of `view`, but for its end.
[[nodiscard]] std::string view_name(std::uint32_t view);

}  // namespace virga
