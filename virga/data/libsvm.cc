#include "virga/data/libsvm.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/data/decimal.h"

namespace virga {
namespace {

bool is_blank(char c) noexcept { return c == ' ' || c == '\t' || c == '\r'; }
bool ends_line(char c) noexcept { return c == '\n' || c == '#'; }
bool ends_token(char c) noexcept { return is_blank(c) || ends_line(c); }

const char* skip_blanks(const char* p) noexcept {
  while (is_blank(*p)) ++p;
  return p;
}
const char* skip_token(const char* p) noexcept {
  while (!ends_token(*p)) ++p;
  return p;
}
std::string_view token_at(const char* p) noexcept { return {p, static_cast<std::size_t>(skip_token(p) - p)}; }

/// Where and why a line is refused.
struct Fault {
  const char* where;
  std::string reason;
};

/// Parses the lines of one chunk. The text ends with a line feed (TextChunk), which stops every scan.
class Parser {
 public:
  Parser(const TextChunk& chunk, const LibsvmOptions& options, ParsedRows& rows)
      : chunk_(chunk), options_(options), rows_(rows) {
    // An entry takes four bytes at least (" 1:1"), so the loop need not ask whether there is room.
    const std::size_t most = chunk.size / 4 + 2;
    check(most <= 0xFFFFFFFFU, "a chunk of text is below 16 GiB");
    if (rows.ids.size() < most) {
      rows.ids.resize(most);
      rows.values.resize(most);
    }
  }

  void parse() {
    const char* p = chunk_.buffer.get();
    const char* const end = p + chunk_.size;
    for (; p < end; ++line_) {
      begin_ = p;
      try {
        p = parse_line(p);
      } catch (const Fault& fault) {
        entries_ = row_.begin;
        const auto column = static_cast<std::uint32_t>(fault.where - begin_) + 1;
        rows_.add_bad_line({chunk_.file, chunk_.first_line + line_, column, fault.reason});
        p = fault.where;
      }
      while (*p != '\n') ++p;
      ++p;
    }
  }

 private:
  [[noreturn]] static void fail(const char* where, std::string_view reason) {
    throw Fault{where, fmt::format("{}: {}", reason, excerpt(token_at(where)))};
  }

  [[nodiscard]] const char* parse_line(const char* p) {
    row_ = {.item = chunk_.first_item + line_, .begin = entries_};
    p = skip_blanks(p);
    if (ends_line(*p)) return p;
    p = parse_label(p);
    p = parse_entries(p);
    row_.count = entries_ - row_.begin;
    if (row_.count > 0) {
      rows_.smallest_id = std::min(rows_.smallest_id, rows_.ids[row_.begin]);
      rows_.largest_id = std::max(rows_.largest_id, rows_.ids[entries_ - 1]);
    }
    rows_.rows.push_back(row_);
    return p;
  }

  [[nodiscard]] const char* parse_label(const char* p) {
    const char first = *p;
    // The labels of classification: one digit, perhaps with a sign.
    const char* digit = p + (first == '+' || first == '-' ? 1 : 0);
    if (*digit >= '0' && *digit <= '9' && ends_token(digit[1])) {
      row_.label = first == '-' ? '0' - *digit : *digit - '0';
      return digit + 1;
    }
    const auto token = token_at(p);
    if (token.find(':') != std::string_view::npos) {
      if (options_.label_required) fail(p, "the label is missing; the line begins with a feature");
      return p;
    }
    if (token.find(',') != std::string_view::npos) fail(p, "several labels; a row has one");
    const auto label = parse_double(token);
    if (label.status != NumberStatus::kOk) fail(p, fmt::format("the label {}", describe(label.status)));
    row_.label = label.value;
    return p + token.size();
  }

  /// The loop that the speed depends on.
  [[nodiscard]] const char* parse_entries(const char* p) {
    std::uint32_t* const ids = rows_.ids.data();
    float* const values = rows_.values.data();
    std::uint32_t n = entries_;
    std::int64_t previous = -1;
    bool ascending = true;
    bool ones = true;
    bool zero = false;  // is there an index 0?
    while (true) {
      p = skip_blanks(p);
      auto index = read_digits(p);
      const char* colon = p + index.count;
      if (index.count == 8) colon = read_long_index(p, index.value);
      if (index.count == 0 || *colon != ':') {
        if (ends_line(*p)) break;
        fail_entry(p, colon);
      }
      if (index.value > kLargestLibsvmIndex) fail(p, fmt::format("the index is above {}", kLargestLibsvmIndex));
      ids[n] = index.value;
      ascending &= index.value > previous;
      previous = index.value;
      zero |= index.value == 0;
      p = colon + 1;
      if (*p == '1' && ends_token(p[1])) {
        values[n++] = 1;
        ++p;
        continue;
      }
      p = parse_value(p, values[n]);
      ones &= values[n] == 1;
      n += values[n] != 0 ? 1 : 0;
    }
    entries_ = n;
    row_.ones = ones;
    if (!ascending) sort_entries();
    if (zero) take_index_zero();
    return p;
  }

  /// An index of eight digits or more; those beyond any limit come out as the largest number.
  [[nodiscard]] static const char* read_long_index(const char* p, std::uint32_t& value) noexcept {
    std::uint64_t index = 0;
    for (; *p >= '0' && *p <= '9'; ++p) {
      index = std::min<std::uint64_t>(index * 10 + static_cast<std::uint64_t>(*p - '0'), 0xFFFFFFFFU);
    }
    value = static_cast<std::uint32_t>(index);
    return p;
  }

  [[nodiscard]] static const char* parse_value(const char* p, float& value) {
    const char* end = p;
    if (read_float_fast(end, value) && ends_token(*end)) return end;
    const auto token = token_at(p);
    const auto parsed = parse_float(token);
    if (parsed.status != NumberStatus::kOk) fail(p, fmt::format("the value {}", describe(parsed.status)));
    value = parsed.value;
    return p + token.size();
  }

  [[noreturn]] static void fail_entry(const char* p, const char* after_index) {
    const auto token = token_at(p);
    if (token.starts_with("qid:")) fail(p, "groups of a ranking (qid) are not supported; remove them");
    if (token.starts_with('-')) fail(p, "the index is negative");
    if (after_index == p) fail(p, "not an index:value");
    fail(p, "not an index:value; a ':' is missing behind the index");
  }

  /// Sorts the entries of the row by index; there may not be two of the same.
  void sort_entries() {
    const auto count = entries_ - row_.begin;
    auto* const ids = rows_.ids.data() + row_.begin;
    auto* const values = rows_.values.data() + row_.begin;
    std::vector<std::pair<std::uint32_t, float>> entries(count);
    for (std::uint32_t i = 0; i < count; ++i) entries[i] = {ids[i], values[i]};
    std::ranges::sort(entries, {}, &std::pair<std::uint32_t, float>::first);
    for (std::uint32_t i = 0; i < count; ++i) {
      if (i > 0 && entries[i].first == entries[i - 1].first) fail_twice(entries[i].first);
      ids[i] = entries[i].first;
      values[i] = entries[i].second;
    }
  }

  /// Finds the n-th entry of index `wanted` in the line.
  [[nodiscard]] const char* find_index(std::uint32_t wanted, int n) const {
    const char* p = skip_blanks(begin_);
    if (token_at(p).find(':') == std::string_view::npos) p = skip_blanks(skip_token(p));
    for (; !ends_line(*p); p = skip_blanks(skip_token(p))) {
      std::uint32_t index = 0;
      static_cast<void>(read_long_index(p, index));
      if (index == wanted && --n == 0) break;
    }
    return p;
  }
  [[noreturn]] void fail_twice(std::uint32_t index) const {
    fail(find_index(index, 2), fmt::format("index {} stands twice in the row", index));
  }
  /// It tells that indices begin with 0, even if its value is 0 and it has been dropped.
  void take_index_zero() {
    if (options_.index_base == 1U) fail(find_index(0, 1), "the index is 0, but the indices of this set begin with 1");
    rows_.smallest_id = 0;
  }

  const TextChunk& chunk_;
  const LibsvmOptions& options_;
  ParsedRows& rows_;
  const char* begin_ = nullptr;  // of the line
  std::uint64_t line_ = 0;       // in the chunk
  std::uint32_t entries_ = 0;    // of all rows
  ParsedRows::Row row_;
};

}  // namespace

void parse_libsvm(const TextChunk& chunk, const LibsvmOptions& options, ParsedRows& rows) {
  rows.clear();
  Parser(chunk, options, rows).parse();
}

bool looks_like_libsvm(std::string_view head) {
  // The last line of the head may be cut off.
  const auto end = head.rfind('\n');
  const auto chunk = make_text_chunk(end == std::string_view::npos ? head : head.substr(0, end + 1));
  ParsedRows rows;
  parse_libsvm(chunk, {.label_required = false}, rows);
  return rows.largest_id > 0 && rows.bad_lines <= rows.rows.size();
}

}  // namespace virga
