#pragma once

#include <memory>
#include <string>

#include "virga/channel/channel.h"
#include "virga/ps/client.h"

namespace virga {

/// Messages through a data store (virga-ps), which pushes what is waited for. Throws Error(kConflict) for other bytes
/// under a taken key. A call may last a quarter of a second beyond its deadline.
class PsChannel final : public Channel {
 public:
  /// Does not connect yet. The client may be shared with a PsRegister.
  explicit PsChannel(std::shared_ptr<PsClient> client) : client_(std::move(client)) {}

  void put(std::span<const Outgoing> messages, const Wait& wait) override;
  void get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) override;
  void put_and_get(std::span<const Outgoing> messages, std::span<const MessageKey> keys, const OnMessage& on_message,
                   const Wait& wait) override;
  [[nodiscard]] std::optional<SharedBytes> try_get(const MessageKey& key, const Wait& wait) override;
  void retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
              const Wait& wait) override;
  void sweep(std::uint32_t view, const Wait& wait) override;
  [[nodiscard]] ChannelContents contents(const Wait& wait) override;
  [[nodiscard]] std::size_t max_message_bytes() const noexcept override { return kPsMaxBodyBytes; }
  [[nodiscard]] const std::string& uri() const noexcept override { return client_->address(); }

 private:
  const std::shared_ptr<PsClient> client_;
};

}  // namespace virga
