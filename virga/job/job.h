#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace virga {

/// Everything that a job file says, with units converted and "auto" resolved where it needs no data (std::nullopt: still
/// auto). Each member is declared once, in job/options.cc, with its name, type, default, check and explanation.
struct Job {
  struct Data {
    std::string train;                      ///< imported set's URI or raw file
    std::optional<std::string> validation;  ///< absent: the set's own split
    std::optional<std::string> test;
    std::optional<std::string> label;       ///< label column of a raw CSV
    std::optional<std::string> weight;      ///< weight column of a raw CSV
    std::string scale = "auto";             ///< auto | none | maxabs | standard
    std::string missing = "indicator";      ///< indicator | mean | zero | error
  } data;
  struct Model {
    std::string kind = "auto";  ///< auto | logistic | svm | svm-squared | softmax | least-squares
    double l1 = 0;
    double l2 = 0;
    bool fit_bias = true;
    /// empty: all 1; {"balanced"}: by frequency; else class text -> weight
    bool class_weight_balanced = false;
    std::map<std::string, double> class_weight;
    std::optional<std::string> init;  ///< model file to start from
  } model;
  struct Optimizer {
    std::string name = "adagrad";          ///< sgd | momentum | nesterov | adagrad | adam
    std::optional<double> learning_rate;   ///< absent: search
    std::string schedule = "auto";         ///< constant | inverse-sqrt | linear | cosine | ...
    std::optional<std::uint64_t> batch_size;  ///< global, of a step; absent: by the number of rows
    double momentum = 0.9;
    double beta1 = 0.9;
    double beta2 = 0.999;
    std::optional<double> epsilon;
  } optimizer;
  struct Stop {
    std::uint32_t epochs = 20;
    std::optional<double> target_loss;  ///< validation loss at which to stop
    std::uint32_t patience = 3;         ///< epochs without improvement on validation; 0: never
    std::optional<std::chrono::nanoseconds> seconds;
  } stop;
  struct Functions {
    std::string engine = "single";
    std::uint32_t workers = 0;  ///< 0: one for each core
  } functions;
  struct Output {
    std::string model = "model.safetensors";
    std::optional<std::string> name;
    std::vector<std::string> tags;
  } output;
  std::uint64_t seed = 1;
};

}  // namespace virga
