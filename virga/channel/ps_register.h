#pragma once

#include <memory>
#include <string>

#include "virga/channel/register.h"
#include "virga/ps/client.h"

namespace virga {

/// Registers in a data store (virga-ps), which pushes what is waited for. A call may last a quarter of a second beyond
/// its deadline.
class PsRegister final : public Register {
 public:
  /// Does not connect yet. The client may be shared with a PsChannel.
  explicit PsRegister(std::shared_ptr<PsClient> client) : client_(std::move(client)) {}

  [[nodiscard]] std::optional<RegisterValue> read(std::string_view name, const Wait& wait) override;
  std::uint64_t write(std::string_view name, ByteView bytes, const Wait& wait) override;
  [[nodiscard]] std::optional<std::uint64_t> compare_exchange(std::string_view name, std::uint64_t expected,
                                                              ByteView bytes, const Wait& wait) override;
  [[nodiscard]] RegisterValue wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) override;
  void remove(std::string_view name, const Wait& wait) override;
  [[nodiscard]] std::size_t max_value_bytes() const noexcept override { return kPsMaxBodyBytes; }
  [[nodiscard]] const std::string& uri() const noexcept override { return client_->address(); }

 private:
  void check_size(std::string_view name, ByteView bytes) const;

  const std::shared_ptr<PsClient> client_;
};

}  // namespace virga
