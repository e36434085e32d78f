#pragma once

#include <string>
#include <string_view>

namespace virga {

/// Names in data files may hold any bytes, JSON only UTF-8. escape_text() writes '%' and bytes that are no part of
/// valid UTF-8 as "%25", "%FF", ...; all else stays as it is, so that almost every name stays itself.
[[nodiscard]] std::string escape_text(std::string_view bytes);

/// The inverse. Throws Error(kCorrupt) for what escape_text() does not write, naming `what`.
[[nodiscard]] std::string unescape_text(std::string_view text, std::string_view what);

}  // namespace virga
