#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "virga/base/bytes.h"
#include "virga/batch/contribution.h"
#include "virga/batch/table.h"
#include "virga/collective/table_sum.h"

namespace virga {

/// What the members of a group add up in a round, besides tables.
struct SumScalars {
  RoundTotals totals;
  std::uint64_t decree = 0;  ///< the newest control record that a member knows; of several, the greatest stays
  bool operator==(const SumScalars&) const = default;
};

/// Where the tables are cut between the members of a group: member r has [cuts[t][r], cuts[t][r + 1]) of table t, rows
/// of a sparse one, elements of any other.
using TableCuts = std::vector<std::vector<std::uint64_t>>;

/// Cuts that share the work. Whole tables evenly, in multiples of 16 elements. Sparse tables by how often rows occur,
/// as `key_quantiles` (ascending) says: key_quantiles[i] is the row below which i / (n - 1) of all occurrences lie
/// (Manifest); without it evenly.
[[nodiscard]] TableCuts cut_tables(const Layout& layout, std::uint32_t members,
                                   std::span<const std::uint32_t> key_quantiles = {});

/// A member's range of one table. Sparse: rows `rows`. Whole: `rows.values` (or `rows.doubles`) are the elements from
/// `first` on, or none if the member has nothing to add.
struct TablePart {
  std::uint64_t first = 0;
  SparsePart rows;
};

/// A range of a contribution, or of the sum of all: borrowed, but for the keys that were decoded.
struct ContributionPart {
  SumScalars scalars;
  std::vector<TablePart> tables;                        ///< in layout order
  std::vector<std::vector<std::uint32_t>> key_storage;  ///< what tables[t].rows.keys refers to, if it was decoded
};

/// Member `member`'s range of `contribution`; borrows it.
[[nodiscard]] ContributionPart part_of(const Contribution& contribution, const Layout& layout, const TableCuts& cuts,
                                       std::uint32_t member, std::uint64_t decree);

/// A part as the body of a message (docs/formats/contribution.md): views of `storage` and of the part's own values.
/// Lives as long as both.
[[nodiscard]] std::vector<ByteView> encode_part(const ContributionPart& part, const Layout& layout, Bytes& storage);

/// Reads such a body, which must be `member`'s range, into `part` (whose memory is used again); its values refer to
/// `body`, which must be aligned to 16 bytes. Throws Error(kCorrupt), naming `what`: keys out of range or not
/// ascending, sizes that do not fit, anything left over.
void decode_part(ByteView body, const Layout& layout, const TableCuts& cuts, std::uint32_t member,
                 std::string_view what, ContributionPart& part);

}  // namespace virga
