#include "virga/channel/memcached_register.h"

#include <algorithm>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/channel/pause.h"

namespace virga {

MemcachedRegister::MemcachedRegister(std::shared_ptr<MemcachedClient> client, std::string_view job)
    : client_(std::move(client)), job_(job) {}

std::size_t MemcachedRegister::max_value_bytes() const noexcept {
  constexpr std::size_t kOverheadBytes = 512;  // for a key, and what Memcached keeps beside a value
  return client_->limits().item_bytes - std::min(client_->limits().item_bytes, kOverheadBytes);
}

std::string MemcachedRegister::key_of(std::string_view name) const {
  check_register_name(*this, name);
  return memcached_key('r', job_, name);
}

void MemcachedRegister::check_size(std::string_view name, ByteView bytes) const {
  if (bytes.size() <= max_value_bytes()) return;
  throw Error(ErrorKind::kTooLarge, fmt::format("{}: a value of {} bytes for register \"{}\", but {} is the most",
                                                uri(), bytes.size(), name, max_value_bytes()));
}

std::optional<RegisterValue> MemcachedRegister::read(std::string_view name, const Wait& wait) {
  auto value = client_->read(key_of(name), wait);
  if (!value) return std::nullopt;
  return RegisterValue{.version = value->version, .bytes = std::move(value->bytes)};
}

std::uint64_t MemcachedRegister::write(std::string_view name, ByteView bytes, const Wait& wait) {
  const auto key = key_of(name);
  check_size(name, bytes);
  return client_->write(key, bytes, wait);
}

std::optional<std::uint64_t> MemcachedRegister::compare_exchange(std::string_view name, std::uint64_t expected,
                                                                 ByteView bytes, const Wait& wait) {
  const auto key = key_of(name);
  check_size(name, bytes);
  return client_->exchange(key, expected, bytes, wait);
}

RegisterValue MemcachedRegister::wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) {
  for (Polling polling(wait);;) {
    if (auto value = read(name, wait); value && value->version > version) return *std::move(value);
    throw_if_stopped(uri(), wait);
    if (!polling.pause()) break;
  }
  throw_if_stopped(uri(), wait);
  throw_not_newer(*this, name, version);
}

void MemcachedRegister::remove(std::string_view name, const Wait& wait) {
  const auto key = key_of(name);
  client_->remove({&key, 1}, wait);
}

}  // namespace virga
