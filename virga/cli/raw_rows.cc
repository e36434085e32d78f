#include "virga/cli/raw_rows.h"

#include <fmt/format.h>

#include "virga/base/units.h"

namespace virga {

GroupStream shown_groups(RawReader& reader, ProgressDisplay& display, const char* phase) {
  return [&reader, &display, phase, next = groups_of(reader)] {
    auto group = next();
    display.report({.phase = phase, .done = static_cast<double>(reader.rows()), .unit = "rows"});
    return group;
  };
}

void note_oddities(const RawReader& reader, const Session& session) {
  if (reader.unseen() > 0) {
    session.note(fmt::format("{} value{} not occur in the model's training data", format_count(reader.unseen()),
                             reader.unseen() == 1 ? " does" : "s do"));
  }
  if (const auto bad = reader.bad_lines().count(); bad > 0) {
    session.note(fmt::format("skipped {} bad line{}:", format_count(bad), bad == 1 ? "" : "s"));
    for (const auto& line : reader.bad_lines().first()) session.note("  " + line);
  }
}

}  // namespace virga
