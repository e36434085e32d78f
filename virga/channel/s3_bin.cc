#include "virga/channel/s3_bin.h"

#include <utility>

#include <fmt/format.h>

namespace virga {

S3Bin::S3Bin(std::shared_ptr<S3Client> client, std::string_view job)
    : client_(std::move(client)), folder_(fmt::format("{}/m/", job)) {}

std::vector<std::string> S3Bin::keys_of(std::span<const std::string> names) const {
  std::vector<std::string> keys;
  keys.reserve(names.size());
  for (const auto& name : names) keys.push_back(folder_ + name);
  return keys;
}

void S3Bin::put(std::span<const Value> values, const Wait& wait) {
  std::vector<S3Client::Put> objects;
  objects.reserve(values.size());
  for (const auto& value : values) {
    objects.push_back({.key = folder_ + value.name, .parts = {value.parts.begin(), value.parts.end()}});
  }
  client_->put(objects, wait);
}

void S3Bin::fetch(std::span<const std::string> names, const OnValue& on_value, const Wait& wait) {
  client_->get_all(
      keys_of(names), max_value_bytes(),
      [&](std::size_t index, Bytes bytes) { on_value(index, SharedBytes::of(std::move(bytes))); }, wait);
}

void S3Bin::remove(std::span<const std::string> names, const Wait& wait) { client_->remove(keys_of(names), wait); }

void S3Bin::list(std::string_view before, const OnName& on_name, const Wait& wait) {
  for (const auto& object : client_->list(folder_, before.empty() ? "" : folder_ + std::string(before), wait)) {
    on_name(std::string_view(object.key).substr(folder_.size()), object.bytes);
  }
}

void S3Bin::check_place(const Wait& wait) {
  // Unlike HEAD, this tells a bucket that is not there from an object that is not.
  (void)client_->get("virga-looks-for-its-bucket", 1 << 10, wait);
}

}  // namespace virga
