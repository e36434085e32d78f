#include "virga/data/csv.h"

#include <algorithm>
#include <array>
#include <bit>

#include <emmintrin.h>

#include "virga/data/parsed_rows.h"

namespace virga {
namespace {

/// The first of two bytes at or behind `p`. One of them, and 16 readable bytes behind it, must come.
const char* find_either(const char* p, char a, char b) noexcept {
  const auto wanted_a = _mm_set1_epi8(a);
  const auto wanted_b = _mm_set1_epi8(b);
  while (true) {
    const auto bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const auto found = _mm_or_si128(_mm_cmpeq_epi8(bytes, wanted_a), _mm_cmpeq_epi8(bytes, wanted_b));
    const auto mask = static_cast<unsigned>(_mm_movemask_epi8(found));
    if (mask != 0) return p + std::countr_zero(mask);
    p += 16;
  }
}

/// A blank that may stand around a field.
bool is_blank(char c, char delimiter) noexcept { return (c == ' ' || c == '\t' || c == '\r') && c != delimiter; }

std::string_view trimmed(const char* begin, const char* end, char delimiter) noexcept {
  while (end > begin && is_blank(end[-1], delimiter)) --end;
  return {begin, static_cast<std::size_t>(end - begin)};
}

}  // namespace

CsvReader::CsvReader(const TextChunk& chunk, char delimiter)
    : next_(chunk.buffer.get()), end_(next_ + chunk.size), delimiter_(delimiter) {}

bool CsvReader::next(std::vector<CsvField>& fields) {
  fields.clear();
  fault_.clear();
  unescaped_.clear();
  // Blank lines.
  const char* p = next_;
  for (const char* q = p; p < end_; p = ++q, ++next_line_) {
    while (is_blank(*q, delimiter_)) ++q;
    if (*q != '\n') break;
  }
  if (p >= end_) return false;
  begin_ = p;
  line_ = next_line_;
  while (true) {
    fields.emplace_back();
    p = read_field(p, fields.back());
    if (!fault_.empty()) p = find_either(fault_position_, '\n', '\n');
    if (*p == '\n') break;
    ++p;
  }
  next_ = p + 1;
  next_line_ += 1 + count_lines({begin_, static_cast<std::size_t>(p - begin_)});
  return true;
}

/// Reads a field at `p` and returns where the delimiter or line feed behind it stands.
const char* CsvReader::read_field(const char* p, CsvField& field) {
  while (is_blank(*p, delimiter_)) ++p;
  field.where = p;
  if (*p == '"') return read_quoted(p, field);
  const char* const end = find_either(p, delimiter_, '\n');
  field.text = trimmed(p, end, delimiter_);
  return end;
}

const char* CsvReader::read_quoted(const char* p, CsvField& field) {
  const char* const quote = p++;
  const char* begin = p;
  std::string* unescaped = nullptr;
  while (true) {
    p = find_either(p, '"', '\n');
    if (p >= end_) {
      fail(quote, "a quote is not closed");
      return quote;
    }
    if (*p == '\n') {
      ++p;
      continue;
    }
    if (p[1] != '"') break;
    if (unescaped == nullptr) unescaped = &unescaped_.emplace_back();
    unescaped->append(begin, p + 1);
    p += 2;
    begin = p;
  }
  field.text = {begin, static_cast<std::size_t>(p - begin)};
  if (unescaped != nullptr) field.text = unescaped->append(field.text);
  ++p;
  while (is_blank(*p, delimiter_)) ++p;
  if (*p != delimiter_ && *p != '\n') fail(p, "something stands behind a closing quote");
  return p;
}

void CsvReader::fail(const char* where, std::string_view reason) {
  fault_ = std::string(reason) + ": " + excerpt({where, static_cast<std::size_t>(end_ - where)});
  fault_position_ = where;
}

CsvReader::Position CsvReader::position(const char* where) const noexcept {
  const std::string_view before(begin_, static_cast<std::size_t>(where - begin_));
  const auto line_feed = before.rfind('\n');
  const auto column = line_feed == std::string_view::npos ? before.size() : before.size() - line_feed - 1;
  return {line_ + count_lines(before), static_cast<std::uint32_t>(column) + 1};
}

std::size_t last_csv_record_end(std::string_view text, char delimiter) {
  if (text.find('"') == std::string_view::npos) return text.rfind('\n') + 1;
  std::size_t last = 0;
  enum class Place { kFieldBegin, kField, kQuoted } place = Place::kFieldBegin;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (place == Place::kQuoted) {
      if (c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
        ++i;
      } else if (c == '"') {
        place = Place::kField;
      }
    } else if (c == '\n') {
      last = i + 1;
      place = Place::kFieldBegin;
    } else if (c == delimiter) {
      place = Place::kFieldBegin;
    } else if (place == Place::kFieldBegin && !is_blank(c, delimiter)) {
      place = c == '"' ? Place::kQuoted : Place::kField;
    }
  }
  return last;
}

char detect_delimiter(std::string_view head) {
  constexpr std::size_t kLines = 20;
  char best = ',';
  std::size_t most = 0;
  const auto chunk = make_text_chunk(head);
  for (const char delimiter : {',', '\t', ';'}) {
    CsvReader reader(chunk, delimiter);
    std::vector<CsvField> fields;
    std::vector<std::size_t> widths;
    while (widths.size() < kLines && reader.next(fields)) {
      if (reader.fault().empty()) widths.push_back(fields.size());
    }
    if (widths.empty() || widths.front() < 2) continue;
    const auto same = static_cast<std::size_t>(std::ranges::count(widths, widths.front()));
    // Agreement first, then more fields.
    const auto score = same * 1'000'000 + std::min<std::size_t>(widths.front(), 999'999);
    if (score > most) {
      most = score;
      best = delimiter;
    }
  }
  return best;
}

}  // namespace virga
