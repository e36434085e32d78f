#include "virga/training/worker_job.h"

#include <cmath>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

/// Every member differs from its default.
WorkerJob odd_job() {
  WorkerJob job;
  job.run = "20261121-0955";
  job.data = "/data \"x\"/set";
  job.data_checksum = 0xfedcba98;
  job.channel = "ps:unix:/run/ps.socket";
  job.emulate = "aws-2021:s3";
  job.faults = {"throttled=0.5", "jitter=1ms"};
  job.pattern = Pattern::kLeader;
  job.pieces = 5;
  job.plan.model = {.kind = ModelKind::kSoftmax,
                    .features = 784,
                    .classes = 10,
                    .dense = true,
                    .fit_bias = false,
                    .class_weights = {0.1F, 1e-40F, 3.4028235e38F},
                    .clusters = 3,
                    .covariance = CovarianceKind::kFull,
                    .reg_covar = std::nextafter(1e-6, 1)};
  job.plan.algorithm = {.kind = AlgorithmKind::kAdmm,
                        .every = 9,
                        .passes = 3,
                        .rho = std::nextafter(0.3, 1),
                        .tolerance = 1e-9,
                        .seed = 77,
                        .protocol = ProtocolKind::kAsp,
                        .staleness = 5};
  job.plan.rule = {.kind = RuleKind::kAdam,
                   .learning_rate = 1.0 / 3,
                   .l1 = 1e-7,
                   .l2 = 5e-324,
                   .momentum = std::nextafter(0.9, 1),
                   .beta1 = 0.8,
                   .beta2 = 0.99,
                   .epsilon = 1e-300,
                   .initial_accumulator = 0.25};
  job.plan.schedule = ScheduleKind::kCosine;
  job.plan.forget = true;
  job.plan.workers = 7;
  job.plan.batch_size = std::uint64_t{1} << 53;
  job.plan.epochs = 12;
  job.plan.learning_rate = 0.1;
  job.plan.mean_weight = 1.1;
  job.plan.constant_loss = std::log(2.0);
  job.plan.start_loss = 2.3;
  job.plan.label_mean = -1e10;
  job.plan.label_scale = 1e10 / 3;
  job.seed = ~std::uint64_t{0};
  job.has_start = true;
  job.validation = "/data/validation";
  job.validates = true;
  job.rounds_per_invocation = 6;
  job.checkpoint_interval = 0ms;
  job.patience = 1ms;
  job.orphan_timeout = 2ms;
  job.memory_bytes = 4;
  job.cache_bytes = 3;
  return job;
}

TEST(WorkerJob, ComesBackAsItWas) {
  const auto job = odd_job();
  const auto again = decode_worker_job(encode_worker_job(job));
  EXPECT_EQ(again.run, job.run);
  EXPECT_EQ(again.data, job.data);
  EXPECT_EQ(again.data_checksum, job.data_checksum);
  EXPECT_EQ(again.channel, job.channel);
  EXPECT_EQ(again.emulate, job.emulate);
  EXPECT_EQ(again.faults, job.faults);
  EXPECT_EQ(again.pattern, job.pattern);
  EXPECT_EQ(again.pieces, job.pieces);
  EXPECT_EQ(again.plan.model, job.plan.model);
  EXPECT_EQ(again.plan.algorithm, job.plan.algorithm);
  EXPECT_EQ(again.plan.rule.kind, job.plan.rule.kind);
  EXPECT_EQ(again.plan.rule.learning_rate, job.plan.rule.learning_rate);
  EXPECT_EQ(again.plan.rule.l1, job.plan.rule.l1);
  EXPECT_EQ(again.plan.rule.l2, job.plan.rule.l2);
  EXPECT_EQ(again.plan.rule.momentum, job.plan.rule.momentum);
  EXPECT_EQ(again.plan.rule.beta1, job.plan.rule.beta1);
  EXPECT_EQ(again.plan.rule.beta2, job.plan.rule.beta2);
  EXPECT_EQ(again.plan.rule.epsilon, job.plan.rule.epsilon);
  EXPECT_EQ(again.plan.rule.initial_accumulator, job.plan.rule.initial_accumulator);
  EXPECT_EQ(again.plan.schedule, job.plan.schedule);
  EXPECT_EQ(again.plan.forget, job.plan.forget);
  EXPECT_EQ(again.plan.workers, job.plan.workers);
  EXPECT_EQ(again.plan.batch_size, job.plan.batch_size);
  EXPECT_EQ(again.plan.epochs, job.plan.epochs);
  EXPECT_EQ(again.plan.learning_rate, job.plan.learning_rate);
  EXPECT_EQ(again.plan.mean_weight, job.plan.mean_weight);
  EXPECT_EQ(again.plan.constant_loss, job.plan.constant_loss);
  EXPECT_EQ(again.plan.start_loss, job.plan.start_loss);
  EXPECT_EQ(again.plan.label_mean, job.plan.label_mean);
  EXPECT_EQ(again.plan.label_scale, job.plan.label_scale);
  EXPECT_EQ(again.seed, job.seed);
  EXPECT_EQ(again.has_start, job.has_start);
  EXPECT_EQ(again.validation, job.validation);
  EXPECT_EQ(again.validates, job.validates);
  EXPECT_EQ(again.rounds_per_invocation, job.rounds_per_invocation);
  EXPECT_EQ(again.checkpoint_interval, job.checkpoint_interval);
  EXPECT_EQ(again.patience, job.patience);
  EXPECT_EQ(again.orphan_timeout, job.orphan_timeout);
  EXPECT_EQ(again.memory_bytes, job.memory_bytes);
  EXPECT_EQ(again.cache_bytes, job.cache_bytes);
}

TEST(WorkerJob, IsWrittenInFull) {
  const auto odd = json::parse(encode_worker_job(odd_job())).flatten();
  const auto plain = json::parse(encode_worker_job({})).flatten();
  for (const auto& [name, value] : odd.items()) {
    const bool same = plain.contains(name) && plain.at(name) == value;
    EXPECT_EQ(same, name == "/version") << name << " would not show a member that is forgotten";
  }
  EXPECT_EQ(encode_worker_job(decode_worker_job(encode_worker_job({}))), encode_worker_job({}));
  EXPECT_EQ(encode_worker_job(decode_worker_job(encode_worker_job(odd_job()))), encode_worker_job(odd_job()));
}

void expect_refused(const std::string& text) {
  try {
    (void)decode_worker_job(text);
    FAIL() << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
  }
}

TEST(WorkerJob, IsRefusedWithoutAnyOfItsMembers) {
  const auto whole = json::parse(encode_worker_job(odd_job()));
  for (const auto& path : {json::json_pointer(""), json::json_pointer("/plan"), json::json_pointer("/plan/model"),
                           json::json_pointer("/plan/algorithm"), json::json_pointer("/plan/rule")}) {
    for (const auto& [name, value] : whole.at(path).items()) {
      auto part = whole;
      part.at(path).erase(name);
      expect_refused(part.dump());
      part.at(path)[name] = json::object({{"not", "it"}});
      expect_refused(part.dump());
    }
  }
}

TEST(WorkerJob, IsRefusedInAnotherVersionOrWithUnknownKinds) {
  auto job = json::parse(encode_worker_job(odd_job()));
  job["version"] = 1;
  expect_refused(job.dump());
  for (const auto* path :
       {"/pattern", "/plan/schedule", "/plan/model/kind", "/plan/rule/kind", "/plan/algorithm/protocol"}) {
    job = json::parse(encode_worker_job(odd_job()));
    job[json::json_pointer(path)] = 200;
    expect_refused(job.dump());
  }
}

TEST(WorkerJob, IsRefusedWhenItIsCut) {
  const auto text = encode_worker_job(odd_job());
  for (std::size_t size = 0; size < text.size(); ++size) expect_refused(text.substr(0, size));
}

TEST(WorkerJob, IsAnErrorIfAPathIsNoText) {
  auto job = odd_job();
  job.data = "/data/\xff";
  EXPECT_THROW((void)encode_worker_job(job), Error);
}

}  // namespace
}  // namespace virga
