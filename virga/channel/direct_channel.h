#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/view.h"
#include "virga/channel/channel.h"
#include "virga/channel/register.h"

namespace virga {

/// Is `uri` one of a direct channel: "direct", or "direct:HOST"?
[[nodiscard]] bool is_direct_uri(std::string_view uri) noexcept;
/// The host on which workers listen: 127.0.0.1 unless the uri names one. Throws Error(kUsage) for what is none, or one
/// to which nobody can connect (0.0.0.0).
[[nodiscard]] std::string direct_host(std::string_view uri);

/// Of a view, what a DirectChannel has to know to find who is meant.
struct DirectView {
  std::vector<Member> members;    ///< by position in group 0
  std::uint32_t over_before = 0;  ///< views below are over: what is kept of them can go
};

/// Messages over TCP straight between workers, where they reach each other (docs/formats/channel-direct.md). Each end
/// is a worker: it listens, says where in a register, and connects to all members of its view that have lower numbers.
/// A message is sent to its destination at once (one for everybody, or of another group than 0: to all other members),
/// which keeps it until its source retires it. The source keeps a copy until then only where it must: of who has not
/// connected yet, or does not take it for a while; of small messages for a moment. So a message that is put before its
/// reader is there, or while a connection is lost, is found. What a worker had sent to one that died, or not yet sent
/// when it died itself, is gone; nobody asks for it, as a view ends with any of its members.
///
/// Who asks for a message that is not for him is sent it as well, by whoever has it; this costs a request to all.
///
/// Cost: no store. A small message takes one send and one receive; a large one is sent from where it lies and received
/// to where it stays, and put() waits until it has been. What waits turns the connections itself, spinning for some 50
/// us where each member of the view may have a core; between calls a thread of this object does.
///
/// Throws kUnauthorized when another worker refuses the token, kTooLarge when the limit of memory (here or there) is
/// met, kConflict for other bytes under a taken key (of a message above 64 KiB that all have taken its source knows but
/// the size).
class DirectChannel final : public Channel {
 public:
  struct Options {
    std::string host = "127.0.0.1";  ///< to listen on; any but loopback needs a token
    std::string token;               ///< that all workers of the job know
    std::string job;
    Member me;
    /// For messages, of this end and of others, that are not retired, with some 200 bytes for each.
    std::uint64_t memory_bytes = std::uint64_t{1} << 30;
    /// What is known of a view that a key names; none: nothing yet, or it is over. Any thread that calls a member.
    std::function<std::optional<DirectView>(std::uint32_t view, const Wait& wait)> find_view;
  };

  /// Does nothing yet: the first call of a member listens, and writes where into the register
  /// "direct/WORKER-GENERATION". `registers` is borrowed.
  DirectChannel(Register& registers, Options options);
  /// Drops what nobody has taken yet: see leave().
  ~DirectChannel() override;

  void put(std::span<const Outgoing> messages, const Wait& wait) override;
  void get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) override;
  void put_and_get(std::span<const Outgoing> messages, std::span<const MessageKey> keys, const OnMessage& on_message,
                   const Wait& wait) override;
  [[nodiscard]] std::optional<SharedBytes> try_get(const MessageKey& key, const Wait& wait) override;
  void retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
              const Wait& wait) override;
  void sweep(std::uint32_t view, const Wait& wait) override;
  /// Of this end: what it has put, and what was sent to it.
  [[nodiscard]] ChannelContents contents(const Wait& wait) override;
  [[nodiscard]] std::size_t max_message_bytes() const noexcept override;
  [[nodiscard]] const std::string& uri() const noexcept override { return uri_; }

  /// Before the end of this worker: waits until all who live have taken what it has put for them, up to the deadline
  /// and 10 seconds. A member whose connection was lost is waited for a second.
  void leave(const Wait& wait);

 private:
  class Impl;
  const std::string uri_;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace virga
