#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "virga/channel/channel.h"
#include "virga/channel/message.h"
#include "virga/collective/contribution_codec.h"
#include "virga/collective/group.h"

namespace virga {

enum class Pattern : std::uint8_t {
  kLeader,         ///< all send all to member 0, which sums and hands the sum out (LambdaML's AllReduce)
  kScatterReduce,  ///< each sums its own range and hands that out (LambdaML's ScatterReduce)
};

/// Sums the contributions of a group's members, round by round, so that every member has the sum. Over ranks as
/// tree_sum says: all patterns, on all channels, give the same bits.
///
/// Transfers (messages put, and messages got) a round with w members and m bytes: leader 3w - 2 of m in all, of which
/// the leader w - 1 gets and 1 put, every other 1 put and 1 get; scatter-reduce w puts and 2 (w - 1) gets of m / w by
/// each member, its 3w - 2.
///
/// What a member put in a round has been got by all as soon as it has heard from all of a later one; it is retired
/// then, a few rounds or megabytes at a time. The last rounds' messages stay: the end of the job sweeps them.
///
/// One object for each member, for one thread. Memory: a few times its own range of all contributions, or, of the
/// leader, of the contributions.
class AllReduce {
 public:
  struct Options {
    Pattern pattern = Pattern::kScatterReduce;
    Phase phase = 0;  ///< takes this and the next
  };
  /// What a round counted, of this member.
  struct Traffic {
    std::uint64_t messages_put = 0;
    std::uint64_t messages_got = 0;
    std::uint64_t bytes_put = 0;
    std::uint64_t bytes_got = 0;
    bool operator==(const Traffic&) const = default;
  };

  /// `channel` is borrowed. `cuts` are the same for all members: cut_tables(layout, group.size, ...).
  AllReduce(Channel& channel, const Group& group, const Layout& layout, TableCuts cuts, const Options& options);

  /// The sum over all members, in parts of ascending ranges; valid until the next call, and as long as `contribution`
  /// if the group has one member. All members call it with the same rounds, ascending. Throws what the channel throws,
  /// and Error(kCorrupt). After a throw, only the destructor may be called.
  [[nodiscard]] const std::vector<ContributionPart>& operator()(std::uint64_t round, const Contribution& contribution,
                                                                std::uint64_t decree, const Wait& wait);

  [[nodiscard]] const Traffic& traffic() const noexcept { return traffic_; }  ///< since construction
  [[nodiscard]] const Group& group() const noexcept { return group_; }

 private:
  void leader(std::uint64_t round, const Contribution& contribution, std::uint64_t decree, const Wait& wait);
  void scatter_reduce(std::uint64_t round, const Contribution& contribution, std::uint64_t decree, const Wait& wait);
  void sum_inputs(ContributionPart& sum);
  void send(std::uint64_t round, Phase phase, std::span<const ContributionPart> parts,
            std::span<const std::uint32_t> destinations, MessageKind kind, const Wait& wait);
  void receive(MessageKind kind, std::span<const MessageKey> keys, const TableCuts& cuts, bool own_range,
               std::vector<ContributionPart>& parts, const Wait& wait);
  void retire(const Wait& wait);

  Channel& channel_;
  const Group group_;
  const Layout layout_;
  const TableCuts cuts_;   // between members
  const TableCuts whole_;  // one range of all
  const Options options_;
  Traffic traffic_;

  std::vector<ContributionPart> inputs_;          // [size] of the range that this member sums
  std::vector<ContributionPart> sums_;            // [size], or one of all
  std::vector<SharedBytes> held_;                 // what inputs_ and sums_ refer to
  std::vector<Bytes> storage_;                    // of the messages that are being put
  std::vector<TableSum> table_sums_;              // [tables]
  std::optional<std::uint64_t> finished_;         // the last round
  std::optional<std::uint64_t> finished_before_;  // the one before it
  std::uint64_t unretired_bytes_ = 0;
  std::uint64_t unretired_rounds_ = 0;
};

}  // namespace virga
