#pragma once

#include "virga/cli/session.h"
#include "virga/data/import.h"
#include "virga/driver/data_set.h"

namespace virga {

/// Reports an import to a progress display.
void show_import(const ImportProgress& progress, ProgressDisplay& display);

/// What a person should know of a finished import: rows, features, labels, what was skipped, left out or hashed; each a
/// line without its end.
[[nodiscard]] std::vector<std::string> import_summary(const ImportReport& report);

/// For open_job_data: shows imports that it makes.
[[nodiscard]] ImportEvents import_events(const Session& session, ProgressDisplay& display);

}  // namespace virga
