#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace virga {

/// Called at the end of each element of a document, children before parents; `path` is "Root/Child/Name", `text` what
/// stood in it outside its children. Attributes are passed over.
using OnXmlElement = std::function<void(std::string_view path, const std::string& text)>;

/// Reads the XML that storage services answer with: elements, text, the five entities and character references, CDATA;
/// no document type, so no entities of its own; at most 16 elements deep. Names keep their prefix. Throws
/// Error(kBadData); what was read before has been handed over by then.
void read_xml(std::string_view document, const OnXmlElement& on_element);

/// With what XML needs to be escaped.
[[nodiscard]] std::string xml_escape(std::string_view text);

}  // namespace virga
