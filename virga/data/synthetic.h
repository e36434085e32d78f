#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace virga {

/// One synthetic row and what its planted model thinks of it.
struct SyntheticRow {
  float label = 0;
  double margin = 0;               ///< of the planted model: P(label = 1) = sigmoid(margin)
  std::vector<float> numbers;      ///< dense values
  std::vector<std::uint32_t> ids;  ///< ctr: features, ascending and unique; criteo: a level for each column
};

/// A source of rows with a planted logistic model, so that the lowest log-loss is known. Rows are pure functions of
/// kind, seed and row number, with the same bits on every machine; several threads may make rows at once.
class SyntheticData {
 public:
  SyntheticData() = default;
  SyntheticData(const SyntheticData&) = delete;
  SyntheticData& operator=(const SyntheticData&) = delete;
  virtual ~SyntheticData() = default;

  virtual void make(std::uint64_t number, SyntheticRow& row) const = 0;

  /// The row as a line of text in the format, and the header of CSV (empty for LIBSVM).
  virtual void append_libsvm(const SyntheticRow& row, std::string& text) const = 0;
  virtual void append_csv(const SyntheticRow& row, std::string& text) const = 0;
  [[nodiscard]] virtual std::string csv_header() const = 0;
};

/// Click logs: 39 categorical fields of 10 to 60,000 levels, few of them frequent and most rare (Zipf's law), hashed
/// into 2^20 binary features; 26 % positive.
[[nodiscard]] std::unique_ptr<SyntheticData> make_ctr(std::uint64_t seed);
/// Advertisements as in Criteo's data: 13 numbers in [0, 1] and 26 categorical columns; LIBSVM hashes these into
/// 100,000 features.
[[nodiscard]] std::unique_ptr<SyntheticData> make_criteo(std::uint64_t seed);
/// Measurements as in the Higgs data: 28 dense features, normally distributed.
[[nodiscard]] std::unique_ptr<SyntheticData> make_dense(std::uint64_t seed);

}  // namespace virga
