#include "virga/collective/contribution_codec.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "virga/base/bytes.h"
#include "virga/base/error.h"

namespace virga {
namespace {

constexpr std::size_t kAlignment = 16;
constexpr std::array<std::byte, kAlignment> kZeros{};

enum class Form : std::uint8_t { kNothing = 0, kSparse = 1, kWhole = 2, kSparseDoubles = 3, kWholeDoubles = 4 };

Form sparse_form(const TableSpec& table) noexcept { return table.doubles ? Form::kSparseDoubles : Form::kSparse; }
Form whole_form(const TableSpec& table) noexcept { return table.doubles ? Form::kWholeDoubles : Form::kWhole; }

/// [first, last) of the values of a whole table, or none.
template <typename T>
std::span<const T> range_of(const std::vector<T>& values, std::uint64_t first, std::uint64_t last) {
  return values.empty() ? std::span<const T>() : std::span(values).subspan(first, last - first);
}

std::size_t padding(std::size_t bytes) noexcept { return (kAlignment - bytes % kAlignment) % kAlignment; }

[[noreturn]] void throw_corrupt(std::string_view what, std::string_view why) {
  throw Error(ErrorKind::kCorrupt, std::string(what) + ": " + std::string(why),
              "the members of the job run different programs or different jobs");
}

// Keys: the first as it is, then the differences, less 1 (they ascend strictly), 7 bits a byte.

/// Where a fifth of the differences takes two bytes, in no order that a branch predictor could learn, both bytes are
/// written or read, and one counts. Where nearly all take one, branches are faster.
constexpr bool kPredictable = true;

template <bool kIsPredictable>
std::byte* put_keys(std::span<const std::uint32_t> keys, std::uint32_t next, std::byte* to) {
  for (const auto key : keys) {
    auto value = key - next;
    next = key + 1;
    if (!kIsPredictable && value < 1U << 14) {
      const std::uint32_t is_long = value >= 0x80;
      to[0] = static_cast<std::byte>(value | is_long << 7);
      to[1] = static_cast<std::byte>(value >> 7);
      to += 1 + is_long;
      continue;
    }
    for (; value >= 0x80; value >>= 7) *to++ = static_cast<std::byte>(value | 0x80);
    *to++ = static_cast<std::byte>(value);
  }
  return to;
}

void put_keys(std::span<const std::uint32_t> keys, Bytes& out) {
  if (keys.empty()) return;
  constexpr std::size_t kAtOnce = 1024;
  std::array<std::byte, 5 * kAtOnce + 1> block;  // one byte more than counts may be written
  const auto mean_difference = (keys.back() - keys.front()) / keys.size();
  const auto put = mean_difference < 32 ? put_keys<kPredictable> : put_keys<!kPredictable>;
  std::uint32_t next = 0;
  for (; !keys.empty(); keys = keys.subspan(std::min(kAtOnce, keys.size()))) {
    const auto some = keys.first(std::min(kAtOnce, keys.size()));
    out.insert(out.end(), block.data(), put(some, next, block.data()));
    next = some.back() + 1;
  }
}

template <bool kIsPredictable>
std::uint64_t get_key_difference(const std::byte*& at, const std::byte* end, std::string_view what) {
  if (!kIsPredictable && end - at >= 2) {
    const auto first = std::to_integer<std::uint32_t>(at[0]), second = std::to_integer<std::uint32_t>(at[1]);
    const std::uint32_t is_long = first >> 7;
    if ((is_long & second >> 7) == 0) {
      at += 1 + is_long;
      return (first & 0x7f) | (second & (0U - is_long)) << 7;
    }
  }
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 35; shift += 7) {
    if (at == end) throw_corrupt(what, "its keys end too early");
    const auto byte = std::to_integer<std::uint64_t>(*at++);
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  throw_corrupt(what, "a key is too large");
}

template <bool kIsPredictable>
void get_keys(ByteView bytes, std::uint64_t last, std::string_view what, std::span<std::uint32_t> keys) {
  const auto* at = bytes.data();
  const auto* const end = at + bytes.size();
  std::uint64_t next = 0;
  for (auto& key : keys) {
    const auto value = next + get_key_difference<kIsPredictable>(at, end, what);
    if (value >= last) throw_corrupt(what, "a key is beyond the member's range");
    key = static_cast<std::uint32_t>(value);
    next = value + 1;
  }
  if (at != end) throw_corrupt(what, "there are bytes after its keys");
}

void get_keys(ByteView bytes, std::size_t count, std::uint64_t first, std::uint64_t last, std::string_view what,
              std::vector<std::uint32_t>& keys) {
  if (count > bytes.size()) throw_corrupt(what, "it has more keys than bytes for them");
  keys.resize(count);
  const bool nearly_all_short = bytes.size() - count < count / 16;
  nearly_all_short ? get_keys<kPredictable>(bytes, last, what, keys) : get_keys<!kPredictable>(bytes, last, what, keys);
  if (!keys.empty() && keys[0] < first) throw_corrupt(what, "a key is before the member's range");
}

struct TableHead {
  Form form = Form::kNothing;
  std::uint32_t count = 0;  // keys, or elements
  std::uint32_t key_bytes = 0;
};

}  // namespace

TableCuts cut_tables(const Layout& layout, std::uint32_t members, std::span<const std::uint32_t> key_quantiles) {
  constexpr std::uint64_t kElements = 16;  // a cache line
  TableCuts cuts(layout.size());
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto size = layout[t].sparse ? std::uint64_t{layout[t].rows} : std::uint64_t{layout[t].size()};
    const auto cut = [&](std::uint64_t member) -> std::uint64_t {
      if (member == 0 || member == members) return member == 0 ? 0 : size;
      const auto even = size * member / members;
      if (!layout[t].sparse) return std::min(size, (even + kElements - 1) / kElements * kElements);
      if (key_quantiles.size() < 2) return even;
      return std::min<std::uint64_t>(size, key_quantiles[(key_quantiles.size() - 1) * member / members]);
    };
    for (std::uint32_t m = 0; m <= members; ++m) cuts[t].push_back(cut(m));
  }
  return cuts;
}

ContributionPart part_of(const Contribution& contribution, const Layout& layout, const TableCuts& cuts,
                         std::uint32_t member, std::uint64_t decree) {
  check(contribution.tables.size() == layout.size(), "a contribution has all tables");
  ContributionPart part;
  part.scalars = {{contribution.weight, contribution.loss, contribution.examples}, decree};
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto& table = contribution.tables[t];
    const auto first = cuts[t][member], last = cuts[t][member + 1];
    const auto count = layout[t].doubles ? table.doubles.size() : table.values.size();
    if (layout[t].sparse) {
      check(count == table.keys.size() * layout[t].width, "a sparse contribution is [keys x width]");
      part.tables.push_back(
          {first, key_range({table.keys, table.values, table.doubles}, layout[t].width, first, last)});
    } else {
      check(count == 0 || count == layout[t].size(), "a whole table has all rows or none");
      part.tables.push_back({first, {{}, range_of(table.values, first, last), range_of(table.doubles, first, last)}});
    }
  }
  return part;
}

std::vector<ByteView> encode_part(const ContributionPart& part, const Layout& layout, Bytes& storage) {
  storage.clear();
  ByteWriter out(storage);
  out.put(part.scalars.totals.weight);
  out.put(part.scalars.totals.loss);
  out.put(part.scalars.totals.examples);
  out.put(part.scalars.decree);
  out.put(static_cast<std::uint32_t>(layout.size()));
  std::vector<std::size_t> key_bytes_at(layout.size());
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto& rows = part.tables[t].rows;
    const auto values = layout[t].doubles ? rows.doubles.size() : rows.values.size();
    const auto form = layout[t].sparse ? sparse_form(layout[t]) : values == 0 ? Form::kNothing : whole_form(layout[t]);
    out.put(form);
    out.put(static_cast<std::uint32_t>(layout[t].sparse ? rows.keys.size() : values));
    key_bytes_at[t] = storage.size();
    out.put(std::uint32_t{0});
  }
  for (std::size_t t = 0; t < layout.size(); ++t) {
    if (!layout[t].sparse) continue;
    const auto before = storage.size();
    put_keys(part.tables[t].rows.keys, storage);
    const auto key_bytes = static_cast<std::uint32_t>(storage.size() - before);
    std::memcpy(storage.data() + key_bytes_at[t], &key_bytes, sizeof(key_bytes));
  }
  storage.resize(storage.size() + padding(storage.size()));
  std::vector<ByteView> body = {storage};
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto& rows = part.tables[t].rows;
    const ByteView bytes = layout[t].doubles ? std::as_bytes(rows.doubles) : std::as_bytes(rows.values);
    if (bytes.empty()) continue;
    body.push_back(bytes);
    if (const auto pad = padding(bytes.size()); pad > 0) body.push_back(ByteView(kZeros).first(pad));
  }
  return body;
}

void decode_part(ByteView body, const Layout& layout, const TableCuts& cuts, std::uint32_t member,
                 std::string_view what, ContributionPart& part) {
  ByteReader in(body, what);
  auto& totals = part.scalars.totals;
  totals.weight = in.get<double>();
  totals.loss = in.get<double>();
  totals.examples = in.get<std::uint64_t>();
  part.scalars.decree = in.get<std::uint64_t>();
  if (in.get<std::uint32_t>() != layout.size()) throw_corrupt(what, "it has another number of tables");
  std::vector<TableHead> heads(layout.size());
  for (auto& head : heads) {
    head.form = in.get<Form>();
    head.count = in.get<std::uint32_t>();
    head.key_bytes = in.get<std::uint32_t>();
  }
  part.tables.resize(layout.size());
  part.key_storage.resize(layout.size());
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto& head = heads[t];
    const auto first = cuts[t][member], last = cuts[t][member + 1];
    const bool fits = layout[t].sparse ? head.form == sparse_form(layout[t])
                      : head.form == whole_form(layout[t])
                          ? head.count == last - first && head.count > 0 && head.key_bytes == 0
                          : head.form == Form::kNothing && head.count == 0 && head.key_bytes == 0;
    if (!fits) throw_corrupt(what, "a table has another form or size");
    auto& keys = part.key_storage[t];
    get_keys(in.take(head.key_bytes), layout[t].sparse ? head.count : 0, first, last, what, keys);
    part.tables[t] = {first, {keys}};
  }
  (void)in.take(padding(body.size() - in.remaining()));
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto size = std::size_t{heads[t].count} * (layout[t].sparse ? layout[t].width : 1);
    const auto bytes = in.take(size * (layout[t].doubles ? sizeof(double) : sizeof(float)));
    auto& rows = part.tables[t].rows;
    if (layout[t].doubles) {
      rows.doubles = {reinterpret_cast<const double*>(bytes.data()), size};
    } else {
      rows.values = {reinterpret_cast<const float*>(bytes.data()), size};
    }
    (void)in.take(padding(bytes.size()));
  }
  if (in.remaining() > 0) throw_corrupt(what, "there are bytes after its end");
}

}  // namespace virga
