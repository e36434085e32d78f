#pragma once

#include <memory>
#include <string>

#include "virga/channel/dynamo_calls.h"
#include "virga/channel/register.h"

namespace virga {

/// Registers of a job in a table of DynamoDB (docs/formats/channel-dynamodb.md): an item each, with its version, which
/// is written on condition. Each call is one request. wait_newer() polls.
class DynamoRegister final : public Register {
 public:
  DynamoRegister(std::shared_ptr<DynamoCalls> calls, std::string_view job);

  [[nodiscard]] std::optional<RegisterValue> read(std::string_view name, const Wait& wait) override;
  std::uint64_t write(std::string_view name, ByteView bytes, const Wait& wait) override;
  [[nodiscard]] std::optional<std::uint64_t> compare_exchange(std::string_view name, std::uint64_t expected,
                                                              ByteView bytes, const Wait& wait) override;
  [[nodiscard]] RegisterValue wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) override;
  void remove(std::string_view name, const Wait& wait) override;
  [[nodiscard]] std::size_t max_value_bytes() const noexcept override;
  [[nodiscard]] PaidRequests paid() const override { return calls_->counts().units; }
  [[nodiscard]] const std::string& uri() const noexcept override { return calls_->options().place.uri; }

 private:
  /// "TableName" and the key, as they begin each request.
  [[nodiscard]] std::string begin(std::string_view name, std::string_view key_name) const;
  void check_size(std::string_view name, ByteView bytes) const;

  const std::shared_ptr<DynamoCalls> calls_;
  const std::string job_;
};

}  // namespace virga
