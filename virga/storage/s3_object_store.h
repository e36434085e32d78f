#pragma once

#include <chrono>
#include <memory>

#include "virga/storage/object_store.h"
#include "virga/storage/s3_client.h"

namespace virga {

/// Objects at S3 or what speaks like it (S3Client). A member gives up after `patience`, and a second more for each MB
/// that it moves. What put() has returned for is as durable as the service makes it.
class S3ObjectStore final : public ObjectStore {
 public:
  explicit S3ObjectStore(S3Client::Options options, std::chrono::milliseconds patience = std::chrono::seconds(60));

  void put(std::string_view name, ByteView bytes, Durability durability = Durability::kVisible) override;
  [[nodiscard]] Bytes get(std::string_view name, std::uint64_t limit = std::uint64_t{1} << 32) const override;
  void get_range(std::string_view name, std::uint64_t offset, std::span<std::byte> out) const override;
  [[nodiscard]] std::uint64_t size(std::string_view name) const override;
  [[nodiscard]] bool exists(std::string_view name) const override;
  [[nodiscard]] std::vector<ObjectInfo> list(std::string_view prefix = "") const override;
  void remove(std::string_view name) override;
  void remove_all(std::span<const std::string> names) override;
  [[nodiscard]] const std::string& uri() const noexcept override { return client_->place().uri; }

  [[nodiscard]] S3Client::Counts counts() const { return client_->counts(); }

 private:
  [[nodiscard]] std::string key_of(std::string_view name) const;
  [[nodiscard]] Wait patience_for(std::uint64_t bytes) const;

  const std::unique_ptr<S3Client> client_;
  const std::chrono::milliseconds patience_;
};

}  // namespace virga
