#pragma once

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

#include "virga/base/random.h"
#include "virga/data/import.h"

namespace virga {

constexpr std::uint32_t kPlantedRows = 3'000;
constexpr std::uint32_t kPlantedFeatures = 40;

enum class PlantedLabels { kBinary, kClasses, kValues };

/// A planted linear model on random sparse rows, some features frequent, some rare, as an imported set in `folder`/set,
/// whose URI it returns. Labels: drawn by the logistic function; three classes, by the score; or the score and noise.
inline std::string make_planted_set(const std::filesystem::path& folder,
                                    PlantedLabels labels = PlantedLabels::kBinary) {
  std::filesystem::create_directories(folder);
  std::ofstream text(folder / "rows.libsvm");
  const Random random(3, Purpose::kTest);
  for (std::uint32_t row = 0; row < kPlantedRows; ++row) {
    double score = -0.5;
    std::string features;
    for (std::uint32_t f = 0; f < kPlantedFeatures; ++f) {
      if (random.uniform(0, row, f) > 3.0 / (f + 3)) continue;
      const double value = 0.5 + random.uniform(1, row, f);
      score += value * (random.uniform(2, f) - 0.5) * 4;
      features += " " + std::to_string(f + 1) + ":" + std::to_string(value);
    }
    const double noise = random.uniform(3, row);
    switch (labels) {
      case PlantedLabels::kBinary:
        text << (noise < 1 / (1 + std::exp(-score)) ? "+1" : "-1");
        break;
      case PlantedLabels::kClasses:
        text << (score + noise < -1 ? 0 : score + noise < 1 ? 1 : 2);
        break;
      case PlantedLabels::kValues:
        text << std::to_string(score + noise);
        break;
    }
    text << features << "\n";
  }
  text.close();
  ImportOptions options;
  options.train = {(folder / "rows.libsvm").string()};
  options.to = (folder / "set").string();
  options.rows_per_group = 100;
  import_set(options);
  return options.to;
}

constexpr std::uint32_t kBlobs = 6;

/// Six round heaps of dense rows, far from 0, as a CSV file and a set of it, `folder`/blobs, whose URI it returns. The
/// label says which heap.
inline std::string make_blobs(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  std::ofstream text(folder / "blobs.csv");
  text << "label,a,b,c,d\n";
  const Random random(5, Purpose::kTest);
  for (std::uint32_t row = 0; row < 2000; ++row) {
    const auto blob = random.below(kBlobs, 0, row);
    text << "heap" << blob;
    for (std::uint32_t f = 0; f < 4; ++f) {
      text << ','
           << 1000 + 40 * random.uniform(1, blob, f) + 3 * (random.uniform(2, row, f) + random.uniform(3, row, f));
    }
    text << '\n';
  }
  text.close();
  ImportOptions options;
  options.train = {(folder / "blobs.csv").string()};
  options.to = (folder / "blobs").string();
  options.rows_per_group = 100;
  import_set(options);
  return options.to;
}

}  // namespace virga
