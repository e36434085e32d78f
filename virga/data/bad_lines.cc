#include "virga/data/bad_lines.h"

#include <algorithm>
#include <tuple>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {

bool BadLines::add(const ParsedRows& rows, const std::vector<std::string>& files) {
  if (rows.bad_lines == 0) return !too_many();
  const std::lock_guard lock(mutex_);
  for (const auto& bad : rows.first_bad_lines) first_.push_back({bad, to_string(bad, files)});
  std::ranges::sort(first_, {}, [](const Quoted& quoted) { return std::tuple(quoted.bad.file, quoted.bad.line); });
  first_.resize(std::min(first_.size(), ParsedRows::kQuoted));
  count_ += rows.bad_lines;
  return !too_many();
}

std::vector<std::string> BadLines::first() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> texts;
  for (const auto& quoted : first_) texts.push_back(quoted.text);
  return texts;
}

void BadLines::check() const {
  if (!too_many()) return;
  const auto texts = first();
  if (tolerated_ == 0) {
    throw Error(ErrorKind::kBadData, texts.front(), "mend the line, or let --skip-bad N leave out up to N bad lines");
  }
  std::string list;
  for (const auto& text : texts) list += (list.empty() ? "" : "; ") + text;
  throw Error(ErrorKind::kBadData, fmt::format("there are more than {} bad lines; the first: {}", tolerated_, list),
              "is the format right? If so, raise --skip-bad");
}

}  // namespace virga
