#include "virga/channel/memory_register.h"

#include "virga/base/error.h"

namespace virga {
std::optional<RegisterValue> MemoryRegister::read(std::string_view name, const Wait&) {
  check_register_name(*this, name);
  const std::lock_guard lock(mutex_);
  const auto at = values_.find(name);
  if (at == values_.end()) return std::nullopt;
  return at->second;
}

std::uint64_t MemoryRegister::write(std::string_view name, ByteView bytes, const Wait&) {
  check_register_name(*this, name);
  auto copy = SharedBytes::copy_of(bytes);
  const std::lock_guard lock(mutex_);
  auto& value = values_[std::string(name)];
  value.bytes = std::move(copy);
  ++value.version;
  written_.notify_all();
  return value.version;
}

std::optional<std::uint64_t> MemoryRegister::compare_exchange(std::string_view name, std::uint64_t expected,
                                                              ByteView bytes, const Wait&) {
  check_register_name(*this, name);
  const std::lock_guard lock(mutex_);
  const auto at = values_.find(name);
  if ((at == values_.end() ? 0 : at->second.version) != expected) return std::nullopt;
  values_[std::string(name)] = {expected + 1, SharedBytes::copy_of(bytes)};
  written_.notify_all();
  return expected + 1;
}

RegisterValue MemoryRegister::wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) {
  check_register_name(*this, name);
  std::unique_lock lock(mutex_);
  std::optional<RegisterValue> found;
  (void)written_.wait_until(lock, wait.stop, wait.deadline.at(), [&] {
    const auto at = values_.find(name);
    if (at != values_.end() && at->second.version > version) found = at->second;
    return found.has_value();
  });
  if (found) return *std::move(found);
  if (wait.stop.stop_requested()) throw Error(ErrorKind::kInterrupted, uri_ + ": the wait was given up");
  throw_not_newer(*this, name, version);
}

void MemoryRegister::remove(std::string_view name, const Wait&) {
  check_register_name(*this, name);
  const std::lock_guard lock(mutex_);
  if (const auto at = values_.find(name); at != values_.end()) values_.erase(at);
}

}  // namespace virga
