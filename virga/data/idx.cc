#include "virga/data/idx.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <mutex>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "virga/base/error.h"

namespace virga {
namespace {

constexpr std::uint8_t kUnsignedBytes = 8;

[[noreturn]] void fail(const std::string& path, std::string_view reason) {
  throw Error(ErrorKind::kBadData, fmt::format("{}: {}", path, reason), "fetch the file again");
}

std::uint32_t big_endian(const char* bytes) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = (value << 8) | static_cast<unsigned char>(bytes[i]);
  return value;
}

/// A header that says items of `shape`.
IdxHeader expect_shape(ByteStream& stream, const std::string& path, const std::vector<std::uint32_t>& shape) {
  auto header = read_idx_header(stream, path);
  if (header.shape == shape) return header;
  fail(path, shape.empty() ? "these are no labels; a file of labels has one dimension"
                           : fmt::format("its images are {}, but those of this set {}", fmt::join(header.shape, " x "),
                                         fmt::join(shape, " x ")));
}

/// One file of images and its labels, while they are read.
class IdxPair {
 public:
  IdxPair(const std::string& images, const Encoding& encoding, bool label_required)
      : images_path_(images), labels_path_(idx_labels_of(images)), images_(images) {
    header_ = expect_shape(images_, images, encoding.image_shape);
    if (!label_required && !std::filesystem::exists(labels_path_)) return;
    labels_ = std::make_unique<ByteStream>(labels_path_);
    const auto labels = expect_shape(*labels_, labels_path_, {});
    if (labels.items != header_.items) {
      fail(images_path_,
           fmt::format("it has {} images, but {} has {} labels", header_.items, labels_path_, labels.items));
    }
  }

  /// Reads the next images, at most `most`; empty at the end.
  void read(std::size_t most, std::string& images, std::string& labels) {
    const auto items = static_cast<std::size_t>(std::min<std::uint64_t>(most, header_.items - done_));
    read_exactly(images_, images_path_, items * header_.item_bytes(), images);
    labels.clear();
    if (labels_) read_exactly(*labels_, labels_path_, items, labels);
    done_ += items;
    if (done_ < header_.items) return;
    expect_end(images_, images_path_);
    if (labels_) expect_end(*labels_, labels_path_);
  }

  [[nodiscard]] std::uint64_t done() const noexcept { return done_; }
  [[nodiscard]] bool at_end() const noexcept { return done_ == header_.items; }
  [[nodiscard]] std::uint64_t bytes_read() const noexcept {
    return images_.raw_bytes() + (labels_ ? labels_->raw_bytes() : 0);
  }
  void add_sources(std::vector<SourceInfo>& sources) const {
    sources.push_back(images_.source());
    if (labels_) sources.push_back(labels_->source());
  }

 private:
  static void read_exactly(ByteStream& stream, const std::string& path, std::size_t bytes, std::string& out) {
    out.resize(bytes);
    if (stream.read(out) != bytes) fail(path, "it ends before the number of items that its header states");
  }
  static void expect_end(ByteStream& stream, const std::string& path) {
    char more;
    if (stream.read({&more, 1}) != 0) fail(path, "it goes on behind the number of items that its header states");
  }

  const std::string images_path_;
  const std::string labels_path_;
  ByteStream images_;
  std::unique_ptr<ByteStream> labels_;
  IdxHeader header_;
  std::uint64_t done_ = 0;
};

class IdxRows final : public RowSource {
 public:
  IdxRows(std::vector<std::string> images, const Encoding& encoding, const RowSourceOptions& options)
      : files_(std::move(images)), encoding_(encoding), labels_(class_labels(encoding)), options_(options) {}

  bool next(ParsedRows& rows) override {
    std::string images;
    std::string labels;
    std::uint32_t file = 0;
    std::uint64_t first = 0;  // in the file, and over all files
    std::uint64_t first_item = 0;
    {
      const std::lock_guard lock(mutex_);
      if (options_.stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "reading was stopped");
      if (!open_next()) return false;
      file = next_file_ - 1;
      first = pair_->done();
      first_item = next_item_;
      const auto before = pair_->bytes_read();
      pair_->read(std::max<std::size_t>(1, kChunkBytes / encoding_.features), images, labels);
      bytes_read_ += pair_->bytes_read() - before;
      next_item_ += pair_->done() - first;
    }
    decode(images, labels, file, first, first_item, rows);
    return true;
  }
  std::uint64_t bytes_read() const noexcept override { return bytes_read_; }
  const std::vector<std::string>& files() const noexcept override { return files_; }
  const std::vector<SourceInfo>& sources() const noexcept override { return sources_; }

 private:
  static constexpr std::size_t kChunkBytes = std::size_t{1} << 20;

  /// Goes on to the next file that has items. Requires the mutex.
  bool open_next() {
    while (!pair_ || pair_->at_end()) {
      if (pair_) pair_->add_sources(sources_);
      pair_.reset();
      if (next_file_ == files_.size()) return false;
      pair_ = std::make_unique<IdxPair>(files_[next_file_++], encoding_, options_.label_required);
      bytes_read_ += pair_->bytes_read();
      if (pair_->at_end()) fail(files_[next_file_ - 1], "it has no images");
    }
    return true;
  }

  void decode(const std::string& images, const std::string& labels, std::uint32_t file, std::uint64_t first,
              std::uint64_t first_item, ParsedRows& rows) const {
    rows.clear();
    const std::size_t size = encoding_.features;
    const std::size_t count = images.size() / size;
    if (rows.values.size() < images.size()) rows.values.resize(images.size());
    std::ranges::transform(images, rows.values.begin(),
                           [](char c) { return static_cast<float>(static_cast<unsigned char>(c)); });
    for (std::size_t i = 0; i < count; ++i) {
      ParsedRows::Row row{.item = first_item + i,
                          .begin = static_cast<std::uint32_t>(i * size),
                          .count = static_cast<std::uint32_t>(size)};
      if (!labels.empty() && !encode_label(static_cast<unsigned char>(labels[i]), row.label) &&
          options_.label_required) {
        rows.add_bad_line({file, first + i + 1, 1,
                           fmt::format("the label {} is none of the {} classes of the training data",
                                       static_cast<unsigned char>(labels[i]), labels_.size())});
        continue;
      }
      rows.rows.push_back(row);
    }
  }

  bool encode_label(double label, double& encoded) const {
    const auto found = std::ranges::lower_bound(labels_, label);
    const bool known = labels_.empty() || (found != labels_.end() && *found == label);
    encoded = labels_.empty() ? label : known ? static_cast<double>(found - labels_.begin()) : ParsedRows::kNoLabel;
    return known;
  }

  const std::vector<std::string> files_;
  const Encoding& encoding_;
  const std::vector<double> labels_;
  const RowSourceOptions options_;
  std::atomic<std::uint64_t> bytes_read_{0};
  std::mutex mutex_;  // guards all below
  std::unique_ptr<IdxPair> pair_;
  std::uint32_t next_file_ = 0;
  std::uint64_t next_item_ = 0;
  std::vector<SourceInfo> sources_;
};

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const auto at = text.rfind(from);
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

}  // namespace

bool looks_like_idx(std::string_view head) {
  return head.size() >= 4 && head[0] == 0 && head[1] == 0 && head[2] >= 8 && head[2] <= 14 && head[3] >= 1 &&
         head[3] <= 4;
}

std::uint64_t IdxHeader::item_bytes() const noexcept {
  std::uint64_t bytes = 1;
  for (const auto dimension : shape) bytes *= dimension;  // read_idx_header() has bounded it
  return bytes;
}

IdxHeader read_idx_header(ByteStream& stream, const std::string& path) {
  char bytes[4];
  if (stream.read(bytes) != 4 || !looks_like_idx({bytes, 4})) fail(path, "this is not an IDX file");
  if (bytes[2] != kUnsignedBytes) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: its elements are not unsigned bytes", path),
                "convert it to bytes, or to CSV");
  }
  IdxHeader header;
  std::uint64_t size = 1;
  for (int dimension = 0, dimensions = static_cast<unsigned char>(bytes[3]); dimension < dimensions; ++dimension) {
    char field[4];
    if (stream.read(field) != 4) fail(path, "it ends within its header");
    if (dimension == 0) {
      header.items = big_endian(field);
      continue;
    }
    header.shape.push_back(big_endian(field));
    size *= header.shape.back();
    if (size == 0 || size > kLargestImage) {
      fail(path, fmt::format("an image has no values, or more than {}", kLargestImage));
    }
  }
  return header;
}

std::string idx_labels_of(const std::string& images) {
  const std::filesystem::path path(images);
  const auto name = replaced(replaced(path.filename().string(), "images", "labels"), "idx3", "idx1");
  if (name == path.filename().string()) {
    throw Error(ErrorKind::kBadData, fmt::format("{}: its name does not tell the file of its labels", images),
                "call them NAME-images-idx3-ubyte and NAME-labels-idx1-ubyte (with .gz, if packed)");
  }
  return (path.parent_path() / name).string();
}

IdxDirectory find_idx_files(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const auto name = entry.path().filename().string();
    if (name.find("images") != std::string::npos && name.find("idx") != std::string::npos) names.push_back(name);
  }
  std::ranges::sort(names);
  IdxDirectory found;
  for (const auto& name : names) {
    const auto path = (std::filesystem::path(directory) / name).string();
    if (found.train.empty() && name.starts_with("train")) found.train = path;
    if (!found.test && (name.starts_with("t10k") || name.starts_with("test"))) found.test = path;
  }
  if (found.train.empty()) {
    throw Error(ErrorKind::kNotFound, fmt::format("{}: there is no file train-images-idx3-ubyte[.gz] in it", directory),
                "name the files instead of the directory");
  }
  return found;
}

void survey_idx(const std::vector<std::string>& images, Encoding& encoding, LabelSurvey& labels) {
  for (const auto& path : images) {
    ByteStream stream(path);
    const auto header = read_idx_header(stream, path);
    if (header.shape.empty()) fail(path, "these are labels, not images; name the file of the images");
    if (encoding.image_shape.empty()) encoding.image_shape = header.shape;
    encoding.features = static_cast<std::uint32_t>(header.item_bytes());
    const auto labels_path = idx_labels_of(path);
    ByteStream labels_stream(labels_path);
    static_cast<void>(expect_shape(labels_stream, labels_path, {}));
    std::string buffer(std::size_t{1} << 16, '\0');
    for (std::size_t count = buffer.size(); count == buffer.size();) {
      count = labels_stream.read(buffer);
      std::vector<ParsedRows::Row> rows;
      for (const char label : std::string_view(buffer).substr(0, count)) {
        rows.push_back({.label = static_cast<double>(static_cast<unsigned char>(label))});
      }
      labels.add(rows);
    }
  }
}

std::unique_ptr<RowSource> open_idx_rows(std::vector<std::string> images, const Encoding& encoding,
                                         const RowSourceOptions& options) {
  return std::make_unique<IdxRows>(std::move(images), encoding, options);
}

}  // namespace virga
