#pragma once

#include <memory>
#include <string>

#include "virga/channel/message_bin.h"
#include "virga/storage/s3_client.h"

namespace virga {

[[nodiscard]] inline PaidRequests paid_of(const S3Client& client) {
  const auto counts = client.counts();
  return {.writes = counts.writes, .reads = counts.reads};
}

/// Messages of a job in a bucket (docs/s3.md), for PolledChannel: an object each, "JOB/m/" and its name, below the
/// place's prefix. Objects are put and asked for by name, many at a time; only a sweep lists.
///
/// Cost, in what S3 bills: a PUT for each message, a GET for each look at one, whether it is there or not; deleting is
/// free.
class S3Bin final : public MessageBin {
 public:
  S3Bin(std::shared_ptr<S3Client> client, std::string_view job);

  void put(std::span<const Value> values, const Wait& wait) override;
  void fetch(std::span<const std::string> names, const OnValue& on_value, const Wait& wait) override;
  void remove(std::span<const std::string> names, const Wait& wait) override;
  void list(std::string_view before, const OnName& on_name, const Wait& wait) override;
  [[nodiscard]] Pace pace() const noexcept override {
    return {.first = std::chrono::milliseconds(2), .longest = std::chrono::milliseconds(100)};
  }
  [[nodiscard]] std::size_t max_value_bytes() const noexcept override { return std::size_t{1} << 32; }
  [[nodiscard]] PaidRequests paid() const override { return paid_of(*client_); }
  [[nodiscard]] const std::string& uri() const noexcept override { return client_->place().uri; }

  /// Throws, as S3Client does, unless the bucket is there and may be looked into.
  void check_place(const Wait& wait);

 private:
  [[nodiscard]] std::vector<std::string> keys_of(std::span<const std::string> names) const;

  const std::shared_ptr<S3Client> client_;
  const std::string folder_;
};

}  // namespace virga
