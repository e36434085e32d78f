#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "virga/base/bytes.h"
#include "virga/cli/session.h"
#include "virga/data/manifest.h"

namespace virga {

// What `virga inspect` shows of each kind of thing. Each prints text or, under --json, one document.

/// `uri`: an imported set.
void inspect_set(const std::string& uri, Session& session);
/// `bytes`: a whole block; `rows`: how many of its rows are printed as well.
void inspect_block(ByteView bytes, const std::string& name, std::size_t rows, Session& session);
/// `path`: a model file; `top`: how many of its largest weights are listed.
void inspect_model(const std::string& path, std::size_t top, Session& session);

/// A set as the JSON of inspect_set, without "schema_version".
[[nodiscard]] nlohmann::json set_json(const Manifest& manifest);
/// What a feature is called: its name, "column", "column=level", "column#bucket", its number in LIBSVM files, or
/// "pixel (row, column)".
[[nodiscard]] std::string feature_name(const Encoding& encoding, std::uint32_t feature);

}  // namespace virga
