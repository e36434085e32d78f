#pragma once

#include <condition_variable>
#include <map>
#include <mutex>

#include "virga/channel/register.h"

namespace virga {

/// Registers among the threads of one process.
class MemoryRegister final : public Register {
 public:
  [[nodiscard]] std::optional<RegisterValue> read(std::string_view name, const Wait& wait) override;
  std::uint64_t write(std::string_view name, ByteView bytes, const Wait& wait) override;
  [[nodiscard]] std::optional<std::uint64_t> compare_exchange(std::string_view name, std::uint64_t expected,
                                                              ByteView bytes, const Wait& wait) override;
  [[nodiscard]] RegisterValue wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) override;
  void remove(std::string_view name, const Wait& wait) override;
  [[nodiscard]] std::size_t max_value_bytes() const noexcept override { return std::size_t{1} << 30; }
  [[nodiscard]] const std::string& uri() const noexcept override { return uri_; }

 private:
  const std::string uri_ = "memory:";
  std::mutex mutex_;  // guards values_
  std::condition_variable_any written_;
  std::map<std::string, RegisterValue, std::less<>> values_;
};

}  // namespace virga
