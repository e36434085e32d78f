#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace virga {

/// Everything that a job says, with units converted and "auto" left empty where it needs data (std::nullopt: still
/// auto). Each member is declared once, in job/options.cc, with its name, type, default, check and explanation; the
/// initial values here are those defaults (held equal by a test).
struct Job {
  struct Data {
    std::string train;                      ///< imported set's URI or raw file; empty: not said
    std::optional<std::string> validation;  ///< absent: the set's own split
    std::optional<std::string> test;        ///< absent: the set's own split, if it has one
    double validation_fraction = 0.1;       ///< of a raw file without a validation file
    std::optional<std::string> label;       ///< label column of a raw CSV
    std::optional<std::string> weight;      ///< weight column of a raw CSV
    std::vector<std::string> numeric;       ///< CSV columns to read as numbers, whatever they look like
    std::vector<std::string> categorical;   ///< CSV columns to read as categories
    std::vector<std::string> ignore;        ///< CSV columns to leave out
    std::string scale = "auto";             ///< auto | none | maxabs | standard
    std::string missing = "indicator";      ///< indicator | mean | zero | error
    bool operator==(const Data&) const = default;
  } data;
  struct Model {
    std::string kind = "auto";  ///< auto | logistic | svm | svm-squared | softmax | least-squares | kmeans |
                                ///< gaussian-mixture
    double l1 = 0;
    double l2 = 1e-5;
    bool fit_bias = true;
    /// By class frequency; else `class_weight`, class text -> weight, 1 for those that it lacks.
    bool class_weight_balanced = false;
    std::map<std::string, double> class_weight;
    std::optional<std::string> init;           ///< model file to start from
    std::optional<std::uint32_t> clusters;     ///< of kmeans, gaussian-mixture; absent: 8
    std::string seeding = "k-means-parallel";  ///< k-means-parallel | random
    std::string covariance = "diagonal";       ///< of gaussian-mixture: diagonal | full
    double reg_covar = 1e-6;                   ///< of gaussian-mixture: added to variances
    bool operator==(const Model&) const = default;
  } model;
  struct Optimizer {
    std::string name = "adagrad";             ///< sgd | momentum | nesterov | adagrad | adam
    std::optional<double> learning_rate;      ///< absent: search
    std::string schedule = "auto";            ///< auto | constant | inverse-sqrt | linear | cosine | step
    std::optional<std::uint64_t> batch_size;  ///< rows of a step, over all workers; absent: by the number of rows
    double momentum = 0.9;
    double beta1 = 0.9;
    double beta2 = 0.999;
    std::optional<double> epsilon;
    bool operator==(const Optimizer&) const = default;
  } optimizer;
  struct Stop {
    std::uint32_t epochs = 20;
    std::optional<double> target_loss;  ///< validation loss at which to stop
    std::uint32_t patience = 3;         ///< epochs without improvement on validation; 0: never
    std::optional<std::chrono::nanoseconds> seconds;
    std::optional<double> usd;  ///< that the whole run may cost, resumed or not
    double improvement = 1e-4;  ///< of kmeans: part of the mean squared distance that an epoch must take away; of
                                ///< gaussian-mixture: by how much it must raise the mean log-likelihood
    bool operator==(const Stop&) const = default;
  } stop;
  struct Functions {
    std::string engine = "local";
    std::uint32_t workers = 0;                  ///< 0: auto
    std::optional<std::uint64_t> memory_bytes;  ///< of a function; absent: auto; none with engine vm
    std::chrono::nanoseconds lifetime = std::chrono::minutes(15);
    std::optional<std::uint64_t> rounds_per_invocation;  ///< absent: as many as its lifetime allows
    std::string instance = "c5.large";                   ///< of engine vm: find_instance()
    std::string prices = "aws-us-east-1";                ///< find_price_table()
    bool operator==(const Functions&) const = default;
  } functions;
  struct Exchange {
    std::string algorithm = "gradient-averaging";
    std::optional<std::uint64_t> every;  ///< rounds between two averages, or meetings; absent: an epoch
    std::uint32_t passes = 4;            ///< of an epoch of ADMM
    std::optional<double> rho;           ///< ADMM's penalty; absent: by l2
    double tolerance = 1e-3;             ///< of ADMM's residuals
    std::string protocol = "bsp";        ///< bsp | ssp | asp
    std::uint32_t staleness = 2;         ///< of protocol ssp, in rounds
    std::string pattern = "default";
    std::string channel = "auto";
    std::optional<std::string> emulate;  ///< find_service_profile(); in make_job's result, never a whole set
    std::vector<std::string> faults;     ///< parse_shape()
    bool operator==(const Exchange&) const = default;
  } exchange;
  /// Where they are: what a channel means that is only named.
  struct Services {
    std::optional<std::string> s3, redis, memcached, dynamodb;
    bool operator==(const Services&) const = default;
  } services;
  struct Output {
    std::string model = "model.safetensors";
    std::optional<std::string> run;  ///< URI at S3 of the run itself; absent: $VIRGA_HOME/runs/ID
    std::optional<std::string> name;
    std::vector<std::string> tags;
    bool operator==(const Output&) const = default;
  } output;
  std::uint64_t seed = 1;
  bool operator==(const Job&) const = default;
};

}  // namespace virga
