#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "virga/base/error.h"
#include "virga/base/shared_bytes.h"
#include "virga/collective/contribution_codec.h"

namespace virga {
namespace {

constexpr std::uint32_t kMembers = 2;

/// Rows of several values, keys of all sizes, a table that is cut between the members, and one of which the first has
/// nothing.
const Layout kLayout = {{.name = "weights", .rows = 1000, .width = 2, .regularised = true, .sparse = true},
                        {.name = "hashed", .rows = 0xffffffff, .width = 1, .regularised = true, .sparse = true},
                        {.name = "hidden", .rows = 8, .width = 5, .regularised = true, .sparse = false},
                        {.name = "bias", .rows = 1, .width = 1, .regularised = false, .sparse = false}};

/// The same tables, the rows of several values and the one that is cut of doubles.
Layout with_doubles() {
  auto layout = kLayout;
  layout[0].doubles = layout[2].doubles = true;
  return layout;
}

SharedBytes encoded(const ContributionPart& part, const Layout& layout) {
  Bytes storage, all;
  for (const auto& piece : encode_part(part, layout, storage)) all.insert(all.end(), piece.begin(), piece.end());
  return SharedBytes::copy_of(all);
}

bool same_bytes(ByteView a, ByteView b) { return std::ranges::equal(a, b); }

/// What the receiver takes for granted: rows of the member's range, in order, each with its values.
void check_part(const ContributionPart& part, const Layout& layout, const TableCuts& cuts, std::uint32_t member) {
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto first = cuts[t][member], last = cuts[t][member + 1];
    const auto& [at, rows] = part.tables[t];
    check(at == first, "a table begins where it is cut");
    const auto count = layout[t].doubles ? rows.doubles.size() : rows.values.size();
    check((layout[t].doubles ? rows.values.size() : rows.doubles.size()) == 0, "values are of the table's type");
    if (layout[t].sparse) {
      check(count == rows.keys.size() * layout[t].width, "every key has its row");
      check(std::ranges::adjacent_find(rows.keys, std::greater_equal<>()) == rows.keys.end(), "keys ascend");
      check(rows.keys.empty() || (rows.keys.front() >= first && rows.keys.back() < last), "keys are in range");
    } else {
      check(rows.keys.empty() && (count == 0 || count == last - first), "a whole table has all elements or none");
    }
  }
}

/// What is accepted must be what its encoding is decoded to; and an encoding is the only one of its part, while what is
/// accepted may have spelt keys longer or padded with other bytes than zeros.
void decode(ByteView bytes, const Layout& layout, const TableCuts& cuts, std::uint32_t member) {
  const auto body = SharedBytes::copy_of(bytes);
  ContributionPart part;
  try {
    decode_part(body.view(), layout, cuts, member, "fuzz", part);
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kCorrupt, "a contribution is refused as corrupt");
    return;
  }
  check_part(part, layout, cuts, member);
  const auto once = encoded(part, layout);
  check(once.size() <= body.size(), "an encoding is no longer than what it was decoded from");
  ContributionPart again;
  decode_part(once.view(), layout, cuts, member, "fuzz", again);
  for (std::size_t t = 0; t < layout.size(); ++t) {
    check(std::ranges::equal(again.tables[t].rows.keys, part.tables[t].rows.keys), "keys changed on their way");
    check(same_bytes(std::as_bytes(again.tables[t].rows.values), std::as_bytes(part.tables[t].rows.values)),
          "values changed on their way");
    check(same_bytes(std::as_bytes(again.tables[t].rows.doubles), std::as_bytes(part.tables[t].rows.doubles)),
          "doubles changed on their way");
  }
  check(same_bytes(encoded(again, layout).view(), once.view()), "an encoding changed on its way");
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto doubles = virga::with_doubles();
  static const auto cuts = virga::cut_tables(virga::kLayout, virga::kMembers);  // those of doubles, too
  const auto bytes = std::as_bytes(std::span(data, size));
  for (const auto* layout : {&virga::kLayout, &doubles}) {
    for (std::uint32_t member = 0; member < virga::kMembers; ++member) virga::decode(bytes, *layout, cuts, member);
  }
  return 0;
}
