#pragma once

#include <string>

#include "virga/base/bytes.h"
#include "virga/cli/session.h"

namespace virga {

// What `virga inspect` shows of each kind of thing. Each prints text or, under --json, one document.

/// `uri`: an imported set.
void inspect_set(const std::string& uri, Session& session);
/// `bytes`: a whole block; `rows`: how many of its rows are printed as well.
void inspect_block(ByteView bytes, const std::string& name, std::size_t rows, Session& session);

}  // namespace virga
