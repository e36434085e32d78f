#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/deadline.h"
#include "virga/base/shared_bytes.h"
#include "virga/net/address.h"

namespace virga {

/// The address in "memcached://HOST:PORT" (port 11211 if there is none; "memcached://[::1]:11211" for IPv6) or
/// "memcached:unix:/PATH". Throws Error(kUsage), kUnsupported for several servers.
[[nodiscard]] Address parse_memcached_uri(std::string_view uri);

/// What a server says of itself, as far as clients must know.
struct MemcachedLimits {
  std::size_t item_bytes = 0;  ///< key, value and what Memcached keeps beside them
  bool evicts = true;          ///< when it is full (no -M)
};
struct MemcachedState {
  std::uint64_t process = 0;  ///< its number,
  std::uint64_t started = 0;  ///< and when it began, in seconds of its clock: both tell whether it was restarted
  std::uint64_t evictions = 0;
};

class MemcachedConnection;

/// Talks to one Memcached, 1.6 or later, by its meta commands. Each call has a connection for itself while it lasts;
/// connections are kept for later calls, and made when there is none. Many commands go out at once, and only answers
/// that say something come back. Several threads may call any member at once. Keys have at most 250 characters, none of
/// them a space or a control character.
///
/// All members throw Error, naming the server: kUnavailable when it cannot be reached or the connection ends (what was
/// asked for may have taken place), kUnauthorized, kTooLarge for a value that it does not take or when it is full,
/// kDeadlineExceeded, kInterrupted, kUnsupported for a Memcached that is too old or keeps no versions, kCorrupt. A call
/// may last a quarter of a second beyond its deadline.
class MemcachedClient {
 public:
  static constexpr std::size_t kMostKeyBytes = 250;

  /// Connects and asks for the limits, in at most 10 seconds. `token`: "user:password" for a server that was started
  /// with -Y, which is sent only if it asks for it; else empty.
  MemcachedClient(std::string_view uri, std::string token);
  ~MemcachedClient();
  MemcachedClient(const MemcachedClient&) = delete;
  MemcachedClient& operator=(const MemcachedClient&) = delete;

  struct Item {
    std::string key;
    std::span<const ByteView> parts;  ///< borrowed for the call
    std::size_t bytes = 0;            ///< of all parts
    std::uint32_t flags = 0;          ///< kept beside the value
  };
  /// Stores those whose key is not taken. Returns the indices of the others.
  [[nodiscard]] std::vector<std::size_t> add(std::span<const Item> items, const Wait& wait);

  using OnValue = std::function<void(std::size_t index, const SharedBytes& bytes, std::uint32_t flags)>;
  /// Hands over those that are there, in the order of `keys`.
  void fetch(std::span<const std::string> keys, const OnValue& on_value, const Wait& wait);
  /// Fills `places` with the values of those that are there, which must have their sizes (else throws kCorrupt).
  /// Returns how many there were.
  [[nodiscard]] std::size_t fetch_into(std::span<const std::string> keys, std::span<const std::span<std::byte>> places,
                                       const Wait& wait);
  /// The sizes of the values that are there.
  void sizes(std::span<const std::string> keys, const std::function<void(std::size_t, std::uint64_t)>& on_size,
             const Wait& wait);
  void remove(std::span<const std::string> keys, const Wait& wait);
  /// All keys of the server, whosever. Slow.
  void list(const std::function<void(std::string_view)>& on_key, const Wait& wait);

  struct Value {
    std::uint64_t version = 0;
    SharedBytes bytes;
  };
  [[nodiscard]] std::optional<Value> read(const std::string& key, const Wait& wait);
  /// Returns the version of what was written: larger than that of all writes of this server before.
  std::uint64_t write(const std::string& key, ByteView bytes, const Wait& wait);
  /// Only if the version is still `expected` (0: there is none), else returns none.
  [[nodiscard]] std::optional<std::uint64_t> exchange(const std::string& key, std::uint64_t expected, ByteView bytes,
                                                      const Wait& wait);

  [[nodiscard]] MemcachedState state(const Wait& wait);
  /// As they were when this object was made.
  [[nodiscard]] const MemcachedLimits& limits() const noexcept { return limits_; }
  [[nodiscard]] const std::string& uri() const noexcept { return uri_; }

 private:
  /// May a request whose connection ends before anything came back be sent again?
  enum class Repeat : std::uint8_t { kNever, kOnce };
  /// Gives `exchange` a connection, and keeps it afterwards if all answers have come.
  template <typename Exchange>
  auto call(const Wait& wait, Repeat repeat, const Exchange& exchange);
  /// Asks for all `keys` with these flags of `mg`, and hands over the answers that are no misses.
  template <typename OnReply>
  void get_each(std::span<const std::string> keys, std::string_view flags, const OnReply& on_reply, const Wait& wait);
  std::optional<std::uint64_t> set(const std::string& key, std::string_view mode, ByteView bytes, Repeat repeat,
                                   const Wait& wait);

  [[nodiscard]] std::unique_ptr<MemcachedConnection> connect(const Wait& wait) const;
  [[nodiscard]] std::unique_ptr<MemcachedConnection> take_idle();
  void give_back(std::unique_ptr<MemcachedConnection> connection);
  [[nodiscard]] MemcachedLimits ask_limits();

  const std::string uri_;
  const Address address_;
  const std::string token_;
  std::mutex mutex_;  // guards idle_
  std::vector<std::unique_ptr<MemcachedConnection>> idle_;
  MemcachedLimits limits_;
};

/// A key of at most kMostKeyBytes: `kind`, ':', the job, ':', the name, both percent-encoded but for '/'. Of a job or a
/// name that is too long, it is '#' and the SHA-256.
[[nodiscard]] std::string memcached_key(char kind, std::string_view job, std::string_view name);

}  // namespace virga
