#include "virga/job/presets.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/units.h"

namespace virga {
namespace {

constexpr std::uint64_t kMaxBytes = 1 << 20;

struct PresetFile {
  std::string_view name;
  std::string_view text;
};
constexpr PresetFile kFiles[] = {
#include "virga/job/preset_files.inc"
};

/// The first line, which is a comment.
std::string_view first_comment(std::string_view text) {
  text = text.substr(0, text.find('\n'));
  if (!text.starts_with('#')) return {};
  const auto begin = text.find_first_not_of("# ");
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

bool is_file(std::string_view name) { return name.find('/') != std::string_view::npos || name.ends_with(".toml"); }

}  // namespace

Preset parse_preset(std::string_view name, std::string_view text, std::string_view where) {
  auto job = parse_tunable_job_text(text, where, Source::kFlag);
  Preset preset{.name = std::string(name),
                .help = std::string(first_comment(text)),
                .text = std::string(text),
                .settings = std::move(job.settings),
                .tune = std::move(job.tune)};
  std::size_t trials = 1;
  for (const auto& tuned : preset.tune) {
    trials *= tuned.values.size();
    if (trials > kMostTrials) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("{}: what is to be tuned has more than {} combinations", tuned.origin, kMostTrials),
                  "give fewer values");
    }
  }
  return preset;
}

std::span<const Preset> presets() {
  static const auto all = [] {
    std::vector<Preset> read;
    for (const auto& [name, text] : kFiles) read.push_back(parse_preset(name, text, fmt::format("preset {}", name)));
    return read;
  }();
  return all;
}

Preset find_preset(std::string_view name) {
  if (is_file(name)) {
    const std::filesystem::path path(name);
    try {
      const auto bytes = read_file(path, kMaxBytes);
      return parse_preset(path.stem().string(), as_text(bytes), name);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kUnsupported) throw;
      throw Error(ErrorKind::kUsage, error.what(), error.remedy());
    }
  }
  const auto found = std::ranges::find(presets(), name, &Preset::name);
  if (found != presets().end()) return *found;
  std::vector<std::string> names;
  for (const auto& preset : presets()) names.push_back(preset.name);
  const auto near = nearest_word(name, names);
  throw Error(ErrorKind::kUsage, fmt::format("there is no preset '{}'", name),
              near.empty() ? fmt::format("those that there are: {}; or a file of your own: ./{}.toml",
                                         fmt::join(names, ", "), name)
                           : fmt::format("did you mean {}?", near));
}

std::vector<std::vector<Setting>> trials_of(const Preset& preset) {
  std::vector<std::vector<Setting>> trials(1);
  for (const auto& tuned : preset.tune) {
    std::vector<std::vector<Setting>> longer;
    for (const auto& trial : trials) {
      for (const auto& value : tuned.values) {
        longer.push_back(trial);
        longer.back().push_back(
            {.option = tuned.option, .value = value, .source = Source::kFlag, .origin = tuned.origin});
      }
    }
    trials = std::move(longer);
  }
  return trials;
}

}  // namespace virga
