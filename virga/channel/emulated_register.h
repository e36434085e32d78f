#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "virga/channel/emulated_channel.h"
#include "virga/channel/register.h"

namespace virga {

/// Makes other registers, which must outlive these, as slow as a service would be (see EmulatedChannel): each call
/// takes the latency once, and the value's bytes their time; what the registers take themselves comes on top. A read
/// finds the value that was there when it was asked for, a write takes place at its end. remove() is not slowed down:
/// it is the driver's.
class EmulatedRegister final : public Register {
 public:
  EmulatedRegister(Register& inner, const ServiceProfile& profile) : inner_(inner), service_(profile) {}

  [[nodiscard]] std::optional<RegisterValue> read(std::string_view name, const Wait& wait) override;
  std::uint64_t write(std::string_view name, ByteView bytes, const Wait& wait) override;
  [[nodiscard]] std::optional<std::uint64_t> compare_exchange(std::string_view name, std::uint64_t expected,
                                                              ByteView bytes, const Wait& wait) override;
  [[nodiscard]] RegisterValue wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) override;
  void remove(std::string_view name, const Wait& wait) override { inner_.remove(name, wait); }
  [[nodiscard]] std::uint64_t writes_between(std::uint64_t older, std::uint64_t newer) const noexcept override {
    return inner_.writes_between(older, newer);
  }
  [[nodiscard]] std::size_t max_value_bytes() const noexcept override { return inner_.max_value_bytes(); }
  /// As of S3Register: each call lists the versions, which is paid like a write.
  [[nodiscard]] PaidRequests paid() const override { return {.writes = writes_, .reads = reads_}; }
  [[nodiscard]] const std::string& uri() const noexcept override { return inner_.uri(); }

 private:
  Register& inner_;
  EmulatedService service_;
  std::atomic<std::uint64_t> writes_ = 0, reads_ = 0;
};

}  // namespace virga
