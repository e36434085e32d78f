#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "virga/data/byte_stream.h"
#include "virga/data/class_labels.h"
#include "virga/data/row_source.h"

namespace virga {

/// IDX, the format of MNIST and its successors: big-endian, a file of images and one of labels (docs/formats/input.md).

/// Most values of one image.
constexpr std::uint32_t kLargestImage = 1U << 24;

/// Does `head`, the beginning of an unpacked file, look like IDX?
[[nodiscard]] bool looks_like_idx(std::string_view head);

/// What the header of a file says: how many items of which shape.
struct IdxHeader {
  std::uint64_t items = 0;
  std::vector<std::uint32_t> shape;  ///< of one item; empty: numbers
  [[nodiscard]] std::uint64_t item_bytes() const noexcept;
};

/// Reads the header at the beginning of `stream`. Throws Error(kBadData), naming `path`, for what is no IDX file or has
/// sizes out of bounds; kUnsupported for elements other than bytes.
[[nodiscard]] IdxHeader read_idx_header(ByteStream& stream, const std::string& path);

/// The file of labels that belongs to a file of images: "labels" for "images", "idx1" for "idx3".
[[nodiscard]] std::string idx_labels_of(const std::string& images);

/// The files of images in a directory: those whose names begin with "train" and "t10k" or "test".
struct IdxDirectory {
  std::string train;
  std::optional<std::string> test;
};
/// Throws Error(kNotFound).
[[nodiscard]] IdxDirectory find_idx_files(const std::string& directory);

/// Sets shape and features of `encoding` from the first file of images and adds all labels to `labels`. Throws
/// Error(kBadData) where files do not fit together.
void survey_idx(const std::vector<std::string>& images, Encoding& encoding, LabelSurvey& labels);

/// open_encoded_rows() for files of images: dense rows of 0 ... 255. If labels are not required, a file of labels may
/// be missing.
[[nodiscard]] std::unique_ptr<RowSource> open_idx_rows(std::vector<std::string> images, const Encoding& encoding,
                                                       const RowSourceOptions& options);

}  // namespace virga
