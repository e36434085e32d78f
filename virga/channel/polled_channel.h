#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "virga/channel/channel.h"
#include "virga/channel/message_bin.h"

namespace virga {

/// Messages in a store that cannot call (MessageBin), under the names that message_name() makes. get() looks for what
/// is missing, and only for that, with growing pauses (MessageBin::pace) that begin anew when something came; and asks
/// the store now and then whether it has lost anything.
///
/// Cost: put() is one MessageBin::put of all messages; each look of get() is one fetch of all that is missing;
/// retire() is one remove, without a listing: this object remembers what was put through it (about 150 bytes for each
/// message that is not retired). What others have put under the same source, an earlier generation among them, stays
/// until its view is swept. sweep() and contents() list everything.
///
/// Throws kConflict for other bytes under a key that was put here and not retired, whatever the store sees.
class PolledChannel final : public Channel {
 public:
  explicit PolledChannel(std::shared_ptr<MessageBin> bin) : bin_(std::move(bin)) {}

  void put(std::span<const Outgoing> messages, const Wait& wait) override;
  void get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) override;
  [[nodiscard]] std::optional<SharedBytes> try_get(const MessageKey& key, const Wait& wait) override;
  void retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
              const Wait& wait) override;
  void sweep(std::uint32_t view, const Wait& wait) override;
  [[nodiscard]] ChannelContents contents(const Wait& wait) override;
  [[nodiscard]] std::size_t max_message_bytes() const noexcept override { return bin_->max_value_bytes(); }
  [[nodiscard]] PaidRequests paid() const override { return bin_->paid(); }
  [[nodiscard]] const std::string& uri() const noexcept override { return bin_->uri(); }

  /// How often get() has looked for a message and not found it.
  [[nodiscard]] std::uint64_t polls() const noexcept { return polls_; }

 private:
  /// What tells the bytes of two messages apart, where the bin does not.
  struct Digest {
    std::uint64_t bytes = 0;
    std::uint32_t crc = 0;
    bool operator==(const Digest&) const = default;
  };
  class Getting;

  void check_size(const Outgoing& message) const;
  void remember(std::span<const Outgoing> messages);
  [[nodiscard]] std::vector<std::string> some_of_mine();

  const std::shared_ptr<MessageBin> bin_;
  std::mutex mutex_;  // guards mine_
  std::map<MessageKey, Digest> mine_;
  std::atomic<std::uint64_t> polls_ = 0;
};

}  // namespace virga
