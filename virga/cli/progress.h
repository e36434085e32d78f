#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace virga {

enum class ProgressMode : std::uint8_t { kBar, kPlain, kJsonl, kNone };

/// How far something has come.
struct Progress {
  std::string phase;  ///< "import", "train", ...; a new one starts the clock anew
  double done = 0;
  double total = 0;         ///< 0: not known
  std::string unit;         ///< "bytes" (shown as MB), "rows", "epochs", ...
  std::string detail = {};  ///< short text behind, as "epoch 3  validation loss 0.3241"
  /// On a terminal in the place of `detail`: lines below the bar, each of fields two spaces apart, of which the last
  /// ones are left out where there is no room.
  std::vector<std::string> below = {};
  std::vector<std::pair<std::string, std::optional<double>>> facts = {};  ///< members of the jsonl event
};

/// Shows on standard error, or wherever `write` goes, how far a command has come: a bar, perhaps with lines below it,
/// that is redrawn in place, a plain line now and then, or one JSON object a line. Several threads may call any member;
/// callers may report as often as they like.
class ProgressDisplay {
 public:
  struct Options {
    ProgressMode mode = ProgressMode::kNone;
    unsigned width = 100;                    ///< columns of the terminal
    std::function<unsigned()> measure = {};  ///< the same at any time, for a window that changes; none: `width`
    std::function<void(std::string_view)> write;
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  };
  explicit ProgressDisplay(Options options);
  /// Removes the bar.
  ~ProgressDisplay();
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

  /// Drawn at most ten times a second (bar, jsonl), or every five seconds (plain); the end of a phase is always drawn.
  void report(const Progress& progress);
  /// Something worth keeping (an epoch is over): a line of its own, above the bar. `event` is what jsonl shows instead;
  /// it gets "event": `name`.
  void milestone(std::string_view line, std::string_view name, const nlohmann::json& event);
  /// Removes the bar, so that other text may follow; a later report draws it again.
  void finish();

 private:
  void draw(const Progress& progress, double seconds);
  void draw_block(const Progress& progress, double seconds);
  void clear_bar();

  const Options options_;
  std::mutex mutex_;  // guards what follows
  std::string phase_;
  std::chrono::steady_clock::time_point phase_start_;
  std::optional<std::chrono::steady_clock::time_point> drawn_;
  std::size_t lines_shown_ = 0;  // of the bar and what is below it
};

/// One line without its end: "import  [#####.....]  52%  120.1 of 231.0 MB  310.2 MB/s  0.4 s left  detail". `bar`:
/// with the bracketed bar, in `width` columns: where there is less room, with a shorter bar, then without the amounts,
/// then cut.
[[nodiscard]] std::string progress_line(const Progress& progress, double seconds, unsigned width, bool bar);

/// The fields of a line, two spaces apart, that fit into `width` columns; at least the beginning of the first.
[[nodiscard]] std::string fitting_fields(const std::string& line, std::size_t width);

}  // namespace virga
