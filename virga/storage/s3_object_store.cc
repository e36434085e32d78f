#include "virga/storage/s3_object_store.h"

#include <algorithm>
#include <thread>
#include <type_traits>

#include <fmt/format.h>

namespace virga {
namespace {

Error no_such_object(const std::string& uri, std::string_view name) {
  return {ErrorKind::kNotFound, fmt::format("{}: there is no object \"{}\"", uri, name),
          "check the place and the name"};
}

/// `look()`, again if it found nothing: while an object is replaced, Swift has neither the old nor the new for a
/// moment. (S3 itself is atomic there.)
template <typename Look>
std::invoke_result_t<Look> look_thrice(const Look& look) {
  auto found = look();
  for (const auto pause : {std::chrono::milliseconds(20), std::chrono::milliseconds(100)}) {
    if (found) break;
    std::this_thread::sleep_for(pause);
    found = look();
  }
  return found;
}

}  // namespace

S3ObjectStore::S3ObjectStore(S3Client::Options options, std::chrono::milliseconds patience)
    : client_(std::make_unique<S3Client>(std::move(options))), patience_(patience) {}

std::string S3ObjectStore::key_of(std::string_view name) const {
  if (!is_object_name(name)) throw bad_object_name(uri(), name);
  return std::string(name);
}

Wait S3ObjectStore::patience_for(std::uint64_t bytes) const {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 40;
  return {.deadline = Deadline::in(patience_ + std::chrono::microseconds(std::min(bytes, kMost)))};
}

void S3ObjectStore::put(std::string_view name, ByteView bytes, Durability) {
  const S3Client::Put object{.key = key_of(name), .parts = {bytes}};
  client_->put({&object, 1}, patience_for(bytes.size()));
}

Bytes S3ObjectStore::get(std::string_view name, std::uint64_t limit) const {
  auto bytes = look_thrice([&, key = key_of(name)] { return client_->get(key, limit, patience_for(limit)); });
  if (!bytes) throw no_such_object(uri(), name);
  return *std::move(bytes);
}

void S3ObjectStore::get_range(std::string_view name, std::uint64_t offset, std::span<std::byte> out) const {
  client_->get_range(key_of(name), offset, out, patience_for(out.size()));
}

std::uint64_t S3ObjectStore::size(std::string_view name) const {
  const auto bytes = look_thrice([&, key = key_of(name)] { return client_->head(key, patience_for(0)); });
  if (!bytes) throw no_such_object(uri(), name);
  return *bytes;
}

bool S3ObjectStore::exists(std::string_view name) const {
  return look_thrice([&, key = key_of(name)] { return client_->head(key, patience_for(0)); }).has_value();
}

std::vector<ObjectInfo> S3ObjectStore::list(std::string_view prefix) const {
  std::vector<ObjectInfo> objects;
  for (auto& object : client_->list(prefix, "", patience_for(0))) {
    if (is_object_name(object.key)) objects.push_back({.name = std::move(object.key), .bytes = object.bytes});
  }
  return objects;
}

void S3ObjectStore::remove(std::string_view name) {
  const auto key = key_of(name);
  client_->remove({&key, 1}, patience_for(0));
}

void S3ObjectStore::remove_all(std::span<const std::string> names) {
  for (const auto& name : names) static_cast<void>(key_of(name));
  client_->remove(names, patience_for(names.size() * std::uint64_t{100'000}));
}

}  // namespace virga
