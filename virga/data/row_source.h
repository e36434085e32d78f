#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "virga/data/encoding.h"
#include "virga/data/manifest.h"
#include "virga/data/parsed_rows.h"

namespace virga {

/// The rows of some files, whatever their format, chunk by chunk.
class RowSource {
 public:
  RowSource() = default;
  RowSource(const RowSource&) = delete;
  RowSource& operator=(const RowSource&) = delete;
  virtual ~RowSource() = default;

  /// Takes the next chunk, in order, and parses it into `rows` on the calling thread; several threads may call. False
  /// at the end. Throws Error(kNotFound, kIo, kBadData, kInterrupted); bad lines do not throw, they stand in `rows`.
  [[nodiscard]] virtual bool next(ParsedRows& rows) = 0;

  /// Bytes of the files, as stored, that have been read; any thread.
  [[nodiscard]] virtual std::uint64_t bytes_read() const noexcept = 0;
  [[nodiscard]] virtual const std::vector<std::string>& files() const noexcept = 0;
  /// The files as they were read; only after next() has returned false.
  [[nodiscard]] virtual const std::vector<SourceInfo>& sources() const noexcept = 0;
};

struct RowSourceOptions {
  bool label_required = true;  ///< or rows may come without label: kNoLabel
  std::stop_token stop;
};

/// LIBSVM files as they stand: ids are indices, labels the numbers in the file. `index_base`: if it is known.
[[nodiscard]] std::unique_ptr<RowSource> open_libsvm_rows(std::vector<std::string> files,
                                                          std::optional<std::uint32_t> index_base,
                                                          const RowSourceOptions& options);

/// Files of any format as an encoding wants them: ids are features (unknown ones are dropped and counted), labels
/// class numbers; a label that is no class makes a bad line, or counts as missing where labels are not required.
/// `encoding` is borrowed.
[[nodiscard]] std::unique_ptr<RowSource> open_encoded_rows(std::vector<std::string> files, const Encoding& encoding,
                                                           const RowSourceOptions& options);

}  // namespace virga
