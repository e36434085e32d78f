#include "virga/data/text_source.h"

#include <algorithm>
#include <cstring>

#include <emmintrin.h>

#include <fmt/format.h>

#include "virga/base/units.h"
#include "virga/data/byte_stream.h"
#include "virga/data/decimal.h"

namespace virga {
namespace {

std::size_t last_line_end(std::string_view text) {
  const auto found = text.rfind('\n');
  return found == std::string_view::npos ? 0 : found + 1;
}

std::unique_ptr<char[]> make_buffer(std::size_t size) {
  return std::make_unique_for_overwrite<char[]>(size + kTextPadding);
}

/// Ends the text of a chunk as TextChunk promises, and counts its lines.
void seal(TextChunk& chunk) {
  std::memset(chunk.buffer.get() + chunk.size, 0, kTextPadding);
  chunk.buffer[chunk.size] = '\n';
  chunk.lines = count_lines(chunk.text());
  if (chunk.size > 0 && chunk.text().back() != '\n') ++chunk.lines;
}

}  // namespace

TextChunk make_text_chunk(std::string_view text) {
  TextChunk chunk;
  chunk.size = text.size();
  chunk.buffer = make_buffer(text.size());
  std::ranges::copy(text, chunk.buffer.get());
  seal(chunk);
  return chunk;
}

std::uint64_t count_lines(std::string_view text) noexcept {
  std::uint64_t lines = 0;
  const __m128i line_feed = _mm_set1_epi8('\n');
  std::size_t i = 0;
  while (i + 16 <= text.size()) {
    // A byte of `counts` goes down by one for each line feed in its column: 255 steps at most.
    const std::size_t steps = std::min<std::size_t>((text.size() - i) / 16, 255);
    __m128i counts = _mm_setzero_si128();
    for (const auto end = i + steps * 16; i < end; i += 16) {
      const auto bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + i));
      counts = _mm_sub_epi8(counts, _mm_cmpeq_epi8(bytes, line_feed));
    }
    const auto sums = _mm_sad_epu8(counts, _mm_setzero_si128());
    lines += static_cast<std::uint64_t>(_mm_cvtsi128_si64(sums)) +
             static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_unpackhi_epi64(sums, sums)));
  }
  return lines + static_cast<std::uint64_t>(std::ranges::count(text.substr(i), '\n'));
}

TextSource::TextSource(std::vector<std::string> files, TextSourceOptions options)
    : files_(std::move(files)), options_(std::move(options)), chunks_(options_.queue) {
  reader_ = std::jthread([this] { read_all(); });
}

TextSource::~TextSource() { chunks_.close(); }

std::optional<TextChunk> TextSource::next() {
  auto chunk = chunks_.pop();
  if (!chunk && error_) std::rethrow_exception(error_);
  return chunk;
}

void TextSource::read_all() {
  try {
    for (std::uint32_t file = 0; file < files_.size(); ++file) read_file(file);
  } catch (...) {
    error_ = std::current_exception();
  }
  chunks_.close();
}

/// Finds where `chunk`, of `filled` bytes, can be cut, and moves what is behind to `rest`. False if nowhere.
bool TextSource::cut(TextChunk& chunk, std::size_t filled, std::string& rest) const {
  const std::string_view text(chunk.buffer.get(), filled);
  chunk.size = options_.last_record_end ? options_.last_record_end(text) : last_line_end(text);
  rest.assign(text.substr(chunk.size));
  return chunk.size > 0;
}

void TextSource::read_file(std::uint32_t file) {
  ByteStream stream(files_[file]);
  std::uint64_t line = 1;
  std::string rest;  // what the last chunk was cut off from
  std::size_t capacity = options_.chunk_bytes;
  for (bool at_end = false; !at_end;) {
    if (options_.stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "reading was stopped");
    capacity = std::max(capacity, std::min(rest.size() * 2, options_.longest_record));
    TextChunk chunk{.number = next_number_, .file = file, .first_line = line, .first_item = next_item_};
    chunk.buffer = make_buffer(capacity);
    std::ranges::copy(rest, chunk.buffer.get());
    const auto before = stream.raw_bytes();
    const auto filled = rest.size() + stream.read({chunk.buffer.get() + rest.size(), capacity - rest.size()});
    bytes_read_ += stream.raw_bytes() - before;
    at_end = filled < capacity;
    if (at_end) {
      chunk.size = filled;
      if (filled == 0) break;
    } else if (!cut(chunk, filled, rest)) {
      if (filled < options_.longest_record) continue;
      throw Error(ErrorKind::kBadData,
                  fmt::format("{}:{}: the line does not end within {}", files_[file], line, format_bytes(filled)),
                  "is this a text file, and are its quotes closed?");
    }
    capacity = options_.chunk_bytes;
    seal(chunk);
    line += chunk.lines;
    next_item_ += chunk.lines;
    ++next_number_;
    if (!chunks_.push(std::move(chunk))) return;
  }
  sources_.push_back(stream.source());
}

}  // namespace virga
