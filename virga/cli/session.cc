#include "virga/cli/session.h"

#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/cli/output.h"

namespace virga {

Session::Session(Variables environment, DisplayFlags flags)
    : environment_(std::move(environment)), flags_(std::move(flags)) {}

std::string Session::variable(std::string_view name) const {
  for (const auto& [key, value] : environment_) {
    if (key == name) return value;
  }
  return {};
}

std::filesystem::path Session::home() const {
  if (const auto home = variable("VIRGA_HOME"); !home.empty()) return home;
  if (const auto home = variable("HOME"); !home.empty()) return std::filesystem::path(home) / ".virga";
  throw Error(ErrorKind::kUsage, "neither VIRGA_HOME nor HOME is set",
              "set VIRGA_HOME to a folder for runs and caches");
}

void Session::print(std::string_view text) const { write_stdout(text); }

void Session::print_json(nlohmann::json document) const {
  document["schema_version"] = 1;
  write_stdout(json_line(document));
}

void Session::warn(std::string_view text) const {
  if (!flags_.quiet) write_stderr(fmt::format("virga: warning: {}\n", text));
}

void Session::note(std::string_view text) const {
  if (!flags_.quiet) write_stderr(fmt::format("{}\n", text));
}

std::unique_ptr<ProgressDisplay> Session::make_progress() const {
  ProgressDisplay::Options options{.width = terminal_width(STDERR_FILENO),
                                   .measure = [] { return terminal_width(STDERR_FILENO); },
                                   .write = write_stderr};
  const bool bar = is_terminal(STDERR_FILENO) && variable("TERM") != "dumb";
  if (flags_.progress == "auto") options.mode = bar ? ProgressMode::kBar : ProgressMode::kPlain;
  if (flags_.progress == "bar") options.mode = ProgressMode::kBar;
  if (flags_.progress == "plain") options.mode = ProgressMode::kPlain;
  if (flags_.quiet) options.mode = ProgressMode::kNone;
  if (flags_.progress == "jsonl") options.mode = ProgressMode::kJsonl;  // asked for by a program: quiet or not
  return std::make_unique<ProgressDisplay>(std::move(options));
}

bool Session::unicode(int descriptor) const {
  if (!is_terminal(descriptor)) return false;
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const auto locale = variable(name);
    if (!locale.empty()) return locale.find("UTF-8") != std::string::npos || locale.find("utf8") != std::string::npos;
  }
  return false;
}

bool Session::color(int descriptor) const {
  return is_terminal(descriptor) && variable("NO_COLOR").empty() && variable("TERM") != "dumb";
}

std::string json_line(const nlohmann::json& document) {
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace virga
