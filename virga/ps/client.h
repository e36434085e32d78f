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
#include "virga/ps/protocol.h"

namespace virga {

struct PsClientOptions {
  std::string address;  ///< see Address
  std::string token;
  std::string job;  ///< messages and registers of other jobs are not seen
};

/// A message to be put: the concatenation of `parts`, borrowed for the call.
struct PsOutgoing {
  PsKey key;
  std::span<const ByteView> parts;
};

class PsConnection;

/// Talks to a data store (PsServer). Each call has a connection for itself while it lasts, so that one which waits
/// holds up no other; connections are kept for later calls, and made when there is none. Several threads may call any
/// member at once.
///
/// All members throw Error: kUnavailable, naming the address, when there is no server, or the connection ends (what was
/// asked for may have taken place); kUnauthorized; kDeadlineExceeded, kInterrupted; what the server answers. A call may
/// last a quarter of a second beyond its deadline, in which the answer to a wait that ran out arrives.
class PsClient {
 public:
  /// Does not connect yet. Throws Error(kUsage).
  explicit PsClient(PsClientOptions options);
  ~PsClient();
  PsClient(const PsClient&) = delete;
  PsClient& operator=(const PsClient&) = delete;

  void ping(const Wait& wait);

  void put(std::span<const PsOutgoing> messages, const Wait& wait);

  /// Takes the message under the key at `index`, on the thread that calls.
  using OnArrival = std::function<void(std::size_t index, const SharedBytes& bytes)>;
  /// Waits for messages and hands on each as it arrives. Returns the indices of those that did not come in time.
  [[nodiscard]] std::vector<std::size_t> get(std::span<const PsKey> keys, const OnArrival& on_arrival,
                                             const Wait& wait);
  /// put(), then get(), without waiting for the answer to the first before the second is asked.
  [[nodiscard]] std::vector<std::size_t> put_and_get(std::span<const PsOutgoing> messages, std::span<const PsKey> keys,
                                                     const OnArrival& on_arrival, const Wait& wait);
  [[nodiscard]] std::optional<SharedBytes> try_get(const PsKey& key, const Wait& wait);
  void retire(const PsRetire& retire, const Wait& wait);
  void sweep(std::uint32_t view, const Wait& wait);
  [[nodiscard]] PsStored contents(const Wait& wait);

  struct Value {
    std::uint64_t version = 0;
    SharedBytes bytes;
  };
  [[nodiscard]] std::optional<Value> read_register(std::string_view name, const Wait& wait);
  std::uint64_t write_register(std::string_view name, ByteView bytes, const Wait& wait);
  /// None if the version is not `expected`.
  [[nodiscard]] std::optional<std::uint64_t> exchange_register(std::string_view name, std::uint64_t expected,
                                                               ByteView bytes, const Wait& wait);
  /// None if no value above `version` came in time.
  [[nodiscard]] std::optional<Value> wait_register(std::string_view name, std::uint64_t version, const Wait& wait);
  void remove_register(std::string_view name, const Wait& wait);

  [[nodiscard]] const std::string& address() const noexcept { return options_.address; }

 private:
  /// May a request whose connection ends before anything came back be sent again?
  enum class Repeat : std::uint8_t { kNever, kOnce };

  /// Gives `exchange` a connection, and keeps it afterwards if it is still in step.
  template <typename Exchange>
  auto call(const Wait& wait, Repeat repeat, const Exchange& exchange);
  /// A request that has one reply.
  template <typename Reply>
  Reply ask(const PsRequest& request, const Wait& wait);
  template <typename Value>
  std::optional<Value> ask_value(const PsRequest& request, const Wait& wait);

  struct PutRequest;
  [[nodiscard]] PutRequest put_request(std::span<const PsOutgoing> messages) const;
  class Arrivals;

  [[nodiscard]] std::unique_ptr<PsConnection> take_idle();
  [[nodiscard]] std::unique_ptr<PsConnection> connect(const Wait& wait);
  void give_back(std::unique_ptr<PsConnection> connection);

  const PsClientOptions options_;
  const Address address_;
  std::mutex mutex_;  // guards idle_
  std::vector<std::unique_ptr<PsConnection>> idle_;
};

}  // namespace virga
