#include "virga/cli/log_lines.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <fmt/format.h>

namespace virga {
namespace {

constexpr std::size_t kMostLineBytes = 16 << 10;
constexpr std::size_t kMostHeld = 64;  // lines before a function says who it is

std::optional<std::uint32_t> number(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// The first words of a text; empty where there are no more.
template <std::size_t kCount>
std::array<std::string_view, kCount> split(std::string_view text, char separator) {
  std::array<std::string_view, kCount> words;
  for (auto& word : words) {
    const auto end = std::min(text.find(separator), text.size());
    word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

LogOrigin worker_origin(WorkerId worker, Generation generation) {
  return {.task = "worker", .worker = worker, .generation = generation};
}

/// "worker-0-1", "evaluate-3", "evaluate-stopped".
std::optional<LogOrigin> origin_of_file(std::string_view stem) {
  const auto [task, worker, generation, more] = split<4>(stem, '-');
  if (task == "evaluate") return LogOrigin{.task = "evaluate"};
  const auto w = number(worker);
  const auto g = number(generation);
  if (task != "worker" || !w || !g || !more.empty()) return std::nullopt;
  return worker_origin(*w, *g);
}

/// "ID worker 0 generation 1 begins, 899 ms left", "ID evaluate epoch 3 begins, ...".
std::optional<LogOrigin> origin_of_line(std::string_view line) {
  const auto [id, task, worker, word, generation, begins] = split<6>(line, ' ');
  if (task == "evaluate" && worker == "epoch" && generation.starts_with("begins")) return LogOrigin{.task = "evaluate"};
  const auto w = number(worker);
  const auto g = number(generation);
  if (task != "worker" || word != "generation" || !w || !g || !begins.starts_with("begins")) return std::nullopt;
  return worker_origin(*w, *g);
}

/// A function may write anything; a terminal must not obey it.
std::string harmless(std::string_view text) {
  std::string out(text);
  for (auto& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t') || byte == 0x7f) c = '?';
  }
  return out;
}

}  // namespace

std::string to_string(const LogOrigin& origin) {
  if (origin.task == "worker") return fmt::format("{}.{}", origin.worker, origin.generation);
  return origin.task.empty() ? "?" : origin.task;
}

LogReader::LogReader(std::string_view stem) : origin_(origin_of_file(stem)) { one_origin_ = origin_.has_value(); }

std::vector<LogLine> LogReader::read(std::string_view text) {
  std::vector<LogLine> out;
  while (!text.empty()) {
    if (text.front() == '\n') {
      take(std::exchange(partial_, {}), out);
      text.remove_prefix(1);
      continue;
    }
    if (partial_.size() == kMostLineBytes) take(std::exchange(partial_, {}), out);
    const auto part = text.substr(0, std::min(text.find('\n'), kMostLineBytes - partial_.size()));
    partial_ += part;
    text.remove_prefix(part.size());
  }
  return out;
}

std::vector<LogLine> LogReader::rest() {
  std::vector<LogLine> out;
  if (!partial_.empty()) take(std::exchange(partial_, {}), out);
  release(out);
  return out;
}

void LogReader::release(std::vector<LogLine>& out) {
  for (auto& line : held_) out.push_back({origin_.value_or(LogOrigin()), std::move(line)});
  held_.clear();
}

void LogReader::take(std::string_view line, std::vector<LogLine>& out) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (!one_origin_ && line.starts_with("START RequestId: ")) {
    release(out);
    origin_.reset();
  }
  if (const auto said = origin_of_line(line); said && !one_origin_) {
    if (origin_) release(out);
    origin_ = said;
  }
  held_.push_back(harmless(line));
  if (origin_ || held_.size() >= kMostHeld) release(out);
}

}  // namespace virga
