#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "virga/collective/all_reduce.h"
#include "virga/cost/usd.h"

namespace virga {

/// What a channel does, as a member of a group sees it; measured by probe_channel(), or said.
struct ChannelFigures {
  double journey_seconds = 0;         ///< of a small message, until who waits for it has it
  double message_seconds = 0;         ///< more for each further message of a call, put and got
  double put_seconds = 0;             ///< of a small message, until the call returns
  double put_seconds_per_byte = 0;    ///< of one member
  double get_seconds_per_byte = 0;    ///< of one member
  double store_seconds_per_byte = 0;  ///< of all members together, put or got; 0: it serves each as if it were alone
  double sum_seconds_per_byte = 0;    ///< to check and add what has been got
  bool operator==(const ChannelFigures&) const = default;
};

/// What a group adds up in a round; expected, for tables that are sparse.
struct RoundSize {
  std::uint32_t members = 1;
  double contribution_bytes = 0;  ///< of one member
  double sum_bytes = 0;           ///< at least as many: it has every key that any member has
  bool operator==(const RoundSize&) const = default;
};

/// What a round would take with one pattern.
struct PatternForecast {
  Pattern pattern = Pattern::kScatterReduce;
  std::uint32_t pieces = 1;  ///< pipelined: AllReduce::Options::pieces
  double seconds = 0;
  Traffic traffic;                   ///< of all members together, headers left out
  std::optional<Usd> requests = {};  ///< what they would cost, where requests are paid for; whoever knows fills it in
  bool operator==(const PatternForecast&) const = default;
};

/// The theory of docs/collectives.md: LambdaML's (Jiang et al., SIGMOD 2021, section 5.3: (3w - 2)(m / (w B) + L) for
/// scatter-reduce), but the requests of a call are under way at once, what is put and what is got have a line each, a
/// store may be the bottleneck, and adding up takes time.
[[nodiscard]] PatternForecast forecast(Pattern pattern, std::uint32_t pieces, const ChannelFigures& figures,
                                       const RoundSize& size);

/// Into how many pieces pipelined cuts each range if nothing is known of the channel: of some 256 KiB, 2 to 8.
[[nodiscard]] std::uint32_t usual_pieces(const RoundSize& size) noexcept;

/// Which pattern a job takes, and why: an input of its run.
struct PatternChoice {
  Pattern pattern = Pattern::kScatterReduce;
  std::uint32_t pieces = 1;
  std::string failure = {};  ///< why the channel was not measured: then it is default_pattern(), and the rest is empty
  ChannelFigures figures = {};
  RoundSize size = {};
  std::vector<PatternForecast> forecasts = {};  ///< of all candidates, the fastest first
  bool operator==(const PatternChoice&) const = default;
};

/// The fastest of `candidates` (at least one). The default pattern, if it is one of them, stays unless another is
/// faster by a tenth: so much a probe does not know.
[[nodiscard]] PatternChoice choose_pattern(std::span<const Pattern> candidates, const ChannelFigures& figures,
                                           const RoundSize& size);

/// For people: "leader: 4.1 ms a round expected; scatter-reduce 9.8 ms, ... (a message takes 1.9 ms, ...)".
[[nodiscard]] std::string choice_text(const PatternChoice& choice);

}  // namespace virga
