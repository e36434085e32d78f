#pragma once

#include <cstdint>

#include "virga/cli/session.h"
#include "virga/data/raw_reader.h"
#include "virga/training/evaluate.h"

namespace virga {

/// The rows of `reader`, each group of them reported to `display`. Both are borrowed.
[[nodiscard]] GroupStream shown_groups(RawReader& reader, ProgressDisplay& display, const char* phase);

/// Notes what the model cannot know of the rows: values that training had not seen, bad lines that were skipped.
void note_oddities(const RawReader& reader, const Session& session);

}  // namespace virga
