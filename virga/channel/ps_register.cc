#include "virga/channel/ps_register.h"

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

RegisterValue converted(PsClient::Value value) { return {.version = value.version, .bytes = std::move(value.bytes)}; }

}  // namespace

std::optional<RegisterValue> PsRegister::read(std::string_view name, const Wait& wait) {
  check_register_name(*this, name);
  auto value = client_->read_register(name, wait);
  if (!value) return std::nullopt;
  return converted(*std::move(value));
}

std::uint64_t PsRegister::write(std::string_view name, ByteView bytes, const Wait& wait) {
  check_register_name(*this, name);
  check_size(name, bytes);
  return client_->write_register(name, bytes, wait);
}

std::optional<std::uint64_t> PsRegister::compare_exchange(std::string_view name, std::uint64_t expected, ByteView bytes,
                                                          const Wait& wait) {
  check_register_name(*this, name);
  check_size(name, bytes);
  return client_->exchange_register(name, expected, bytes, wait);
}

RegisterValue PsRegister::wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) {
  check_register_name(*this, name);
  auto value = client_->wait_register(name, version, wait);
  if (!value) throw_not_newer(*this, name, version);
  return converted(*std::move(value));
}

void PsRegister::remove(std::string_view name, const Wait& wait) {
  check_register_name(*this, name);
  client_->remove_register(name, wait);
}

void PsRegister::check_size(std::string_view name, ByteView bytes) const {
  if (bytes.size() <= max_value_bytes()) return;
  throw Error(ErrorKind::kTooLarge, fmt::format("{}: a value of {} bytes for register \"{}\", but {} is the most",
                                                uri(), bytes.size(), name, max_value_bytes()));
}

}  // namespace virga
