#include "virga/ps/client.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/ps/client_connection.h"

namespace virga {
namespace {

/// Connections that are kept for later.
constexpr std::size_t kMaxIdle = 16;

std::uint32_t wait_ms(const Wait& wait) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(wait.deadline.remaining()).count();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(left, 0, std::numeric_limits<std::uint32_t>::max()));
}

Address checked(const PsClientOptions& options) {
  if (options.token.size() > kPsMaxTokenBytes) {
    throw Error(ErrorKind::kUsage, fmt::format("a token has at most {} bytes", kPsMaxTokenBytes));
  }
  if (options.job.size() > kPsMaxJobBytes) {
    throw Error(ErrorKind::kUsage, fmt::format("the name of a job has at most {} bytes", kPsMaxJobBytes));
  }
  return parse_address(options.address);
}

}  // namespace

PsClient::PsClient(PsClientOptions options) : options_(std::move(options)), address_(checked(options_)) {}
PsClient::~PsClient() = default;

std::unique_ptr<PsConnection> PsClient::take_idle() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return nullptr;
  auto connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

std::unique_ptr<PsConnection> PsClient::connect(const Wait& wait) {
  return std::make_unique<PsConnection>(address_, PsHello{options_.token, options_.job}, wait);
}

void PsClient::give_back(std::unique_ptr<PsConnection> connection) {
  if (!connection->is_in_step()) return;
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kMaxIdle) idle_.push_back(std::move(connection));
}

template <typename Exchange>
auto PsClient::call(const Wait& wait, Repeat repeat, const Exchange& exchange) {
  if (wait.stop.stop_requested()) throw Error(ErrorKind::kInterrupted, options_.address + ": the call was given up");
  const auto run = [&](std::unique_ptr<PsConnection>& connection) {
    const auto turn = connection->turn(wait);
    return exchange(*connection);
  };
  auto connection = take_idle();
  while (repeat == Repeat::kNever && connection && connection->is_stale()) connection = take_idle();
  for (bool is_new = false;; connection.reset()) {
    if (!connection) {
      is_new = true;
      connection = connect(wait);
    }
    try {
      if constexpr (std::is_void_v<decltype(exchange(*connection))>) {
        run(connection);
        return give_back(std::move(connection));
      } else {
        auto result = run(connection);
        give_back(std::move(connection));
        return result;
      }
    } catch (const Error& error) {
      // A connection that the store had ended while it was idle.
      const bool again = error.kind() == ErrorKind::kUnavailable && !is_new && !connection->has_heard();
      if (again && repeat == Repeat::kOnce) continue;
      give_back(std::move(connection));
      throw;
    }
  }
}

template <typename Reply>
Reply PsClient::ask(const PsRequest& request, const Wait& wait) {
  return call(wait, Repeat::kOnce, [&](PsConnection& connection) {
    connection.send(request);
    SharedBytes body;
    return connection.expect<Reply>(body);
  });
}

template <typename Value>
std::optional<Value> PsClient::ask_value(const PsRequest& request, const Wait& wait) {
  return call(wait, Repeat::kOnce, [&](PsConnection& connection) -> std::optional<Value> {
    connection.send(request);
    SharedBytes body;
    const auto value = connection.expect<PsValue>(body);
    if (value.version == 0) return std::nullopt;
    return Value{value.version, std::move(body)};
  });
}

void PsClient::ping(const Wait& wait) { static_cast<void>(ask<PsDone>(PsPing(), wait)); }

/// A put as it is sent. Its parts refer to its head.
struct PsClient::PutRequest {
  Bytes head;
  std::vector<ByteView> parts;
};

PsClient::PutRequest PsClient::put_request(std::span<const PsOutgoing> messages) const {
  PsPut put;
  PutRequest request;
  request.parts.emplace_back();
  for (const auto& message : messages) {
    auto& item = put.items.emplace_back(PsPut::Item{.key = message.key});
    for (const auto& part : message.parts) {
      item.bytes += part.size();
      request.parts.push_back(part);
    }
    if (item.bytes > kPsMaxBodyBytes) {
      throw Error(ErrorKind::kTooLarge,
                  fmt::format("{}: a message of {} bytes, but {} is the most: {}", options_.address, item.bytes,
                              kPsMaxBodyBytes, to_string(message.key)));
    }
  }
  request.head = encode_request(put);
  request.parts[0] = request.head;
  return request;
}

void PsClient::put(std::span<const PsOutgoing> messages, const Wait& wait) {
  for (; !messages.empty(); messages = messages.subspan(std::min<std::size_t>(messages.size(), kPsMaxCount))) {
    const auto request = put_request(messages.first(std::min<std::size_t>(messages.size(), kPsMaxCount)));
    call(wait, Repeat::kOnce, [&](PsConnection& connection) {
      connection.send(request.parts);
      SharedBytes body;
      static_cast<void>(connection.expect<PsDone>(body));
    });
  }
}

/// The messages of a get as they arrive.
class PsClient::Arrivals {
 public:
  Arrivals(std::size_t count, std::size_t offset, const OnArrival& on_arrival)
      : arrived_(count, false), offset_(offset), on_arrival_(on_arrival) {}

  void receive(PsConnection& connection) {
    for (;;) {
      SharedBytes body;
      std::optional<PsReply> reply;
      try {
        reply = connection.receive(body);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kDeadlineExceeded) throw;
        return;  // what is missing is known without the store's word
      }
      if (std::holds_alternative<PsEnd>(*reply)) return;
      const auto* message = std::get_if<PsMessage>(&*reply);
      if (message == nullptr || message->index >= arrived_.size() || arrived_[message->index]) {
        connection.fail_unexpected();
      }
      arrived_[message->index] = true;
      on_arrival_(offset_ + message->index, body);
    }
  }
  void add_missing_to(std::vector<std::size_t>& missing) const {
    for (std::size_t i = 0; i < arrived_.size(); ++i) {
      if (!arrived_[i]) missing.push_back(offset_ + i);
    }
  }

 private:
  std::vector<bool> arrived_;
  const std::size_t offset_;
  const OnArrival& on_arrival_;
};

std::vector<std::size_t> PsClient::get(std::span<const PsKey> keys, const OnArrival& on_arrival, const Wait& wait) {
  std::vector<std::size_t> missing;
  for (std::size_t offset = 0; offset < keys.size(); offset += kPsMaxCount) {
    const auto some = keys.subspan(offset, std::min<std::size_t>(keys.size() - offset, kPsMaxCount));
    Arrivals arrivals(some.size(), offset, on_arrival);
    call(wait, Repeat::kOnce, [&](PsConnection& connection) {
      connection.send(PsGet{.wait_ms = wait_ms(wait), .keys = {some.begin(), some.end()}});
      arrivals.receive(connection);
    });
    arrivals.add_missing_to(missing);
  }
  return missing;
}

std::vector<std::size_t> PsClient::put_and_get(std::span<const PsOutgoing> messages, std::span<const PsKey> keys,
                                               const OnArrival& on_arrival, const Wait& wait) {
  if (messages.empty() || keys.empty() || messages.size() > kPsMaxCount || keys.size() > kPsMaxCount) {
    put(messages, wait);
    return get(keys, on_arrival, wait);
  }
  auto request = put_request(messages);
  Arrivals arrivals(keys.size(), 0, on_arrival);
  call(wait, Repeat::kOnce, [&](PsConnection& connection) {
    const auto asked = encode_request(PsGet{.wait_ms = wait_ms(wait), .keys = {keys.begin(), keys.end()}});
    auto parts = request.parts;
    parts.emplace_back(asked);
    connection.send(parts);
    crash_point("after_put");
    crash_point("before_get");
    SharedBytes body;
    connection.expect_first<PsDone>(body);
    arrivals.receive(connection);
  });
  std::vector<std::size_t> missing;
  arrivals.add_missing_to(missing);
  return missing;
}

std::optional<SharedBytes> PsClient::try_get(const PsKey& key, const Wait& wait) {
  auto value = ask_value<Value>(PsTryGet{key}, wait);
  if (!value) return std::nullopt;
  return std::move(value->bytes);
}

void PsClient::retire(const PsRetire& retire, const Wait& wait) { static_cast<void>(ask<PsDone>(retire, wait)); }

void PsClient::sweep(std::uint32_t view, const Wait& wait) { static_cast<void>(ask<PsDone>(PsSweep{view}, wait)); }

PsStored PsClient::contents(const Wait& wait) { return ask<PsStored>(PsContents(), wait); }

std::optional<PsClient::Value> PsClient::read_register(std::string_view name, const Wait& wait) {
  return ask_value<Value>(PsReadRegister{std::string(name)}, wait);
}

std::uint64_t PsClient::write_register(std::string_view name, ByteView bytes, const Wait& wait) {
  return call(wait, Repeat::kNever, [&](PsConnection& connection) {
    const auto head = encode_request(PsWriteRegister{std::string(name), bytes.size()});
    const std::array<ByteView, 2> parts = {head, bytes};
    connection.send(parts);
    SharedBytes body;
    return connection.expect<PsVersion>(body).version;
  });
}

std::optional<std::uint64_t> PsClient::exchange_register(std::string_view name, std::uint64_t expected, ByteView bytes,
                                                         const Wait& wait) {
  return call(wait, Repeat::kNever, [&](PsConnection& connection) -> std::optional<std::uint64_t> {
    const auto head = encode_request(PsExchangeRegister{expected, std::string(name), bytes.size()});
    const std::array<ByteView, 2> parts = {head, bytes};
    connection.send(parts);
    SharedBytes body;
    const auto version = connection.expect<PsVersion>(body).version;
    if (version == 0) return std::nullopt;
    return version;
  });
}

std::optional<PsClient::Value> PsClient::wait_register(std::string_view name, std::uint64_t version, const Wait& wait) {
  try {
    return ask_value<Value>(PsWaitRegister{wait_ms(wait), version, std::string(name)}, wait);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kDeadlineExceeded) throw;
    return std::nullopt;
  }
}

void PsClient::remove_register(std::string_view name, const Wait& wait) {
  static_cast<void>(ask<PsDone>(PsRemoveRegister{std::string(name)}, wait));
}

}  // namespace virga
