#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "virga/base/threads.h"
#include "virga/data/manifest.h"

namespace virga {

/// Whole lines (or records) of one file, in memory that ends with a line feed and kTextPadding zero bytes (decimal.h)
/// behind the text, so that parsers need not ask at each byte whether it is the last.
struct TextChunk {
  std::uint64_t number = 0;      ///< 0, 1, ... over all files
  std::uint32_t file = 0;        ///< index into the list of files
  std::uint64_t first_line = 1;  ///< number of its first line in the file
  std::uint64_t first_item = 0;  ///< lines before it in all files: what random draws for its lines count from
  std::uint64_t lines = 0;       ///< line feeds, and one more for an unfinished last line
  std::size_t size = 0;
  std::unique_ptr<char[]> buffer;

  [[nodiscard]] std::string_view text() const noexcept { return {buffer.get(), size}; }
};

/// A chunk of that text, as if it were a file; for parsers that are given text.
[[nodiscard]] TextChunk make_text_chunk(std::string_view text);

/// Number of line feeds.
[[nodiscard]] std::uint64_t count_lines(std::string_view text) noexcept;

struct TextSourceOptions {
  std::size_t chunk_bytes = std::size_t{4} << 20;
  std::size_t longest_record = std::size_t{64} << 20;  ///< a longer line is refused
  std::size_t queue = 3;                               ///< chunks that are read ahead
  /// Where the last whole record of a text ends (0: nowhere); the text begins with a record. By default behind the last
  /// line feed.
  std::function<std::size_t(std::string_view)> last_record_end;
  std::stop_token stop;
};

/// The text of several files, in their order, in chunks that are cut at the ends of lines: a thread of its own reads,
/// unpacks (byte_stream.h), cuts and counts lines, others take chunks. How it is cut depends on the files and the
/// options alone. Holds `queue` + 2 chunks.
class TextSource {
 public:
  TextSource(std::vector<std::string> files, TextSourceOptions options);
  ~TextSource();
  TextSource(const TextSource&) = delete;
  TextSource& operator=(const TextSource&) = delete;

  /// The next chunk, or nothing at the end; any thread. Throws what the reading thread met: Error(kNotFound, kIo,
  /// kBadData for damaged packed data and for lines beyond `longest_record`, kInterrupted when stopped).
  [[nodiscard]] std::optional<TextChunk> next();

  /// Bytes of the files, as stored, that have been read so far; any thread.
  [[nodiscard]] std::uint64_t bytes_read() const noexcept { return bytes_read_.load(std::memory_order_relaxed); }
  [[nodiscard]] const std::vector<std::string>& files() const noexcept { return files_; }
  /// The files as they were read. Only after next() has returned nothing.
  [[nodiscard]] const std::vector<SourceInfo>& sources() const noexcept { return sources_; }

 private:
  void read_all();
  void read_file(std::uint32_t file);
  [[nodiscard]] bool cut(TextChunk& chunk, std::size_t filled, std::string& rest) const;

  const std::vector<std::string> files_;
  const TextSourceOptions options_;
  std::vector<SourceInfo> sources_;  // written by reader_ before it closes chunks_
  std::atomic<std::uint64_t> bytes_read_{0};
  std::uint64_t next_number_ = 0;  // these two belong to reader_
  std::uint64_t next_item_ = 0;
  BoundedQueue<TextChunk> chunks_;
  std::exception_ptr error_;  // as sources_
  std::jthread reader_;
};

}  // namespace virga
