#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "virga/base/phase_clock.h"
#include "virga/channel/channel.h"
#include "virga/channel/message.h"
#include "virga/collective/contribution_codec.h"
#include "virga/collective/group.h"
#include "virga/collective/outbox.h"

namespace virga {

/// What one member moved.
struct Traffic {
  std::uint64_t messages_put = 0;
  std::uint64_t messages_got = 0;
  std::uint64_t bytes_put = 0;
  std::uint64_t bytes_got = 0;
  Traffic& operator+=(const Traffic& other) noexcept {
    messages_put += other.messages_put;
    messages_got += other.messages_got;
    bytes_put += other.bytes_put;
    bytes_got += other.bytes_got;
    return *this;
  }
  bool operator==(const Traffic&) const = default;
};

enum class Pattern : std::uint8_t {
  kLeader,         ///< all send all to member 0, which sums and hands the sum out (LambdaML's AllReduce)
  kScatterReduce,  ///< each sums its own range and hands that out (LambdaML's ScatterReduce)
  kAllToAll,       ///< each hands all out, and each sums all: one journey instead of two
  kTree,           ///< each sums those of a subtree; the root hands the sum out: no member sums more than log2 of all
  kPipelined,      ///< scatter-reduce piece by piece: while one is summed and got, the next ones are put (FuncPipe)
};
constexpr Pattern kPatterns[] = {Pattern::kLeader, Pattern::kScatterReduce, Pattern::kAllToAll, Pattern::kTree,
                                 Pattern::kPipelined};
/// "leader", "scatter-reduce", "all-to-all", "tree", "pipelined".
[[nodiscard]] std::string_view to_string(Pattern pattern) noexcept;

/// The fastest through a data store: with two members, all-to-all moves no more bytes than scatter-reduce.
[[nodiscard]] constexpr Pattern default_pattern(std::uint32_t members) noexcept {
  return members <= 2 ? Pattern::kAllToAll : Pattern::kScatterReduce;
}

/// Sums the contributions of a group's members, round by round, so that every member has the sum. Over ranks as
/// tree_sum says: all patterns, on all channels, give the same bits.
///
/// Transfers (messages put, and messages got) a round with w members and m bytes: leader 3w - 2 of m in all, of which
/// the leader w - 1 gets and 1 put, every other 1 put and 1 get; scatter-reduce w puts and 2 (w - 1) gets of m / w by
/// each member, its 3w - 2; all-to-all 1 put and w - 1 gets of m by each; tree 3w - 2 of m in all, of which a member
/// gets at most ceil(log2 w) contributions and puts 1, over 1 + ceil(log2 w) journeys; pipelined with p pieces p times
/// as many as scatter-reduce, of m / (w p), in about the time of the busier direction alone.
///
/// What a member put in a round has been got by all as soon as it has heard from all of a later one; it is retired
/// then, a few rounds or megabytes at a time. The last rounds' messages stay: the end of the job sweeps them.
///
/// One object for each member, for one thread; pipelined has two more in a round, which put. Memory: a few times its
/// own range of all contributions; of the leader, and of all in all-to-all, a few times all contributions.
class AllReduce {
 public:
  struct Options {
    Pattern pattern = Pattern::kScatterReduce;
    Phase phase = 0;              ///< takes this and the next
    PhaseClock* clock = nullptr;  ///< borrowed; told what the time goes to
    std::uint32_t pieces = 1;     ///< pipelined: of each member's range; at most kMostPieces
  };
  /// More would not fit beside the parts of a message that a channel must cut (ChunkedChannel).
  static constexpr std::uint32_t kMostPieces = 4096;
  /// Into how many ranges the tables are cut.
  [[nodiscard]] static constexpr std::uint32_t ranges(std::uint32_t members, const Options& options) noexcept {
    return options.pattern == Pattern::kPipelined ? members * options.pieces : members;
  }
  /// `channel` is borrowed. `cuts` are the same for all members: cut_tables(layout, ranges(group.size, options), ...).
  AllReduce(Channel& channel, const Group& group, const Layout& layout, TableCuts cuts, const Options& options);

  /// The sum over all members, in parts of ascending ranges; valid until the next call, and as long as `contribution`
  /// if the group has one member. All members call it with the same rounds, ascending. Throws what the channel throws,
  /// and Error(kCorrupt). After a throw, only missing(), traffic() and the destructor may be called.
  [[nodiscard]] const std::vector<ContributionPart>& operator()(std::uint64_t round, const Contribution& contribution,
                                                                std::uint64_t decree, const Wait& wait);

  /// After kDeadlineExceeded: the ranks whose messages did not come.
  [[nodiscard]] const std::vector<std::uint32_t>& missing() const noexcept { return missing_; }
  [[nodiscard]] const Traffic& traffic() const noexcept { return traffic_; }  ///< since construction
  [[nodiscard]] const Group& group() const noexcept { return group_; }

 private:
  void leader(std::uint64_t round, const Contribution& contribution, std::uint64_t decree, const Wait& wait);
  void scatter_reduce(std::uint64_t round, const Contribution& contribution, std::uint64_t decree, const Wait& wait);
  void all_to_all(std::uint64_t round, const Contribution& contribution, std::uint64_t decree, const Wait& wait);
  void tree(std::uint64_t round, const Contribution& contribution, std::uint64_t decree, const Wait& wait);
  void pipelined(std::uint64_t round, const Contribution& contribution, std::uint64_t decree, const Wait& wait);
  class Pipeline;
  void sum_inputs(std::span<const ContributionPart> inputs, std::vector<TableSum>& table_sums, ContributionPart& sum);
  void check_totals(const SumScalars& own) const;
  [[nodiscard]] ContributionPart sum_of(const ContributionPart& left, const ContributionPart& right,
                                        std::vector<TableSum>& table_sums) const;
  /// Messages that are waited for, and where they go.
  struct Inbox {
    MessageKind kind;
    std::vector<MessageKey> keys;
    const TableCuts& cuts;
    bool own_range;  ///< all are of the range that this member sums, else each of its source's
    std::vector<ContributionPart>& parts;
  };
  [[nodiscard]] Outbox outbox(std::uint64_t round, Phase phase, std::span<const ContributionPart> parts,
                              std::span<const std::uint32_t> destinations, MessageKind kind);
  void put(Outbox outbox, const Wait& wait);
  void get(const Inbox& inbox, const Wait& wait);
  void put_and_get(Outbox outbox, const Inbox& inbox, const Wait& wait);
  void sent(std::uint64_t messages, std::uint64_t bytes);
  void await(const Inbox& inbox);
  void take(const Inbox& inbox, const MessageKey& key, const SharedBytes& message);
  void decode(const MessageKey& key, const SharedBytes& message, MessageKind kind, const TableCuts& cuts,
              std::uint32_t range, ContributionPart& part);
  void retire(const Wait& wait);
  void lap(WorkPhase phase) noexcept {
    if (options_.clock != nullptr) options_.clock->lap(phase);
  }

  Channel& channel_;
  const Group group_;
  const Layout layout_;
  const TableCuts cuts_;   // between members
  const TableCuts whole_;  // one range of all
  const Options options_;
  Traffic traffic_;
  std::vector<std::uint32_t> missing_;  // ranks that are waited for

  std::vector<ContributionPart> inputs_;          // [pieces x size] of the range that this member sums
  std::vector<ContributionPart> sums_;            // [ranges], or one of all
  std::vector<SharedBytes> held_;                 // what inputs_ and sums_ refer to
  std::vector<Bytes> storage_;                    // of the messages that are being put
  std::vector<TableSum> table_sums_;              // [tables]
  std::vector<std::vector<TableSum>> of_each_;    // [levels of the tree, or pieces][tables]
  std::optional<std::uint64_t> finished_;         // the last round
  std::optional<std::uint64_t> finished_before_;  // the one before it
  std::uint64_t unretired_bytes_ = 0;
  std::uint64_t unretired_rounds_ = 0;
};

}  // namespace virga
