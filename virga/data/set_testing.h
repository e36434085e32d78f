#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <unistd.h>

#include "virga/data/block.h"
#include "virga/data/groups_testing.h"
#include "virga/data/manifest.h"

namespace virga {

/// A set in a directory of its own, for tests and benchmarks: a regression whose label is the number of the row in its
/// split, so that each row can be told from all others. It is deleted in the end.
class TestSet {
 public:
  struct Options {
    std::uint64_t train_rows = 0;
    std::uint64_t validation_rows = 0;
    GroupShape shape;  ///< shape.rows is the size of a group
    std::uint64_t block_bytes = BlockWriter::kTargetBytes;
    std::uint64_t distinct_groups = ~std::uint64_t{0};  ///< generating is slow: repeat them after so many
  };

  explicit TestSet(const Options& options) : options_(options) {
    auto folder = (std::filesystem::temp_directory_path() / "virga_test_set.XXXXXX").string();
    if (::mkdtemp(folder.data()) == nullptr) throw system_error("cannot create " + folder, errno);
    folder_ = folder;
    store_ = open_object_store(folder);
    manifest_.rows_per_group = options.shape.rows;
    manifest_.encoding = {.task = Task::kRegression, .features = options.shape.features, .dense = options.shape.dense};
    manifest_.train = make_split("train/", options.train_rows, train_groups_);
    manifest_.validation = make_split("validation/", options.validation_rows, validation_groups_);
    write_manifest(*store_, manifest_);
  }
  ~TestSet() { std::filesystem::remove_all(folder_); }
  TestSet(const TestSet&) = delete;
  TestSet& operator=(const TestSet&) = delete;

  [[nodiscard]] ObjectStore& store() const noexcept { return *store_; }
  [[nodiscard]] Manifest& manifest() noexcept { return manifest_; }
  /// As they were encoded, in order of storage; at most Options::distinct_groups of them.
  [[nodiscard]] const std::vector<RowGroup>& train_groups() const noexcept { return train_groups_; }
  [[nodiscard]] const std::vector<RowGroup>& validation_groups() const noexcept { return validation_groups_; }

 private:
  [[nodiscard]] RowGroup make_group(std::uint64_t first_row, std::uint64_t rows) const {
    auto shape = options_.shape;
    shape.rows = static_cast<std::uint32_t>(std::min<std::uint64_t>(shape.rows, rows - first_row));
    auto group = test_group(shape, first_row);
    for (std::uint32_t row = 0; row < shape.rows; ++row) group.labels[row] = static_cast<float>(first_row + row);
    return group;
  }

  Split make_split(const std::string& prefix, std::uint64_t rows, std::vector<RowGroup>& groups) {
    Split split{.rows = rows, .weight = static_cast<double>(rows)};
    BlockWriter writer(*store_, prefix, options_.block_bytes);
    std::vector<Bytes> encoded;
    for (std::uint64_t first = 0; first < rows; first += options_.shape.rows) {
      const auto number = first / options_.shape.rows;
      if (number < options_.distinct_groups) {
        groups.push_back(make_group(first, rows));
        encoded.push_back(encode_group(groups.back()));
      }
      const auto& group = groups[number % groups.size()];
      writer.add(encoded[number % encoded.size()], group.rows);
      split.nonzeros += group.nonzeros();
    }
    split.blocks = writer.finish();
    return split;
  }

  const Options options_;
  std::filesystem::path folder_;
  std::unique_ptr<ObjectStore> store_;
  Manifest manifest_;
  std::vector<RowGroup> train_groups_;
  std::vector<RowGroup> validation_groups_;
};

}  // namespace virga
