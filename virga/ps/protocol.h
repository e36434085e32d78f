#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "virga/base/bytes.h"

/// The bytes between a data store and its clients (docs/formats/ps-protocol.md): pure functions, no I/O. Whatever
/// parses throws Error(kCorrupt) for what the format does not allow, before it allocates what a length asks for.
namespace virga {

constexpr std::uint16_t kPsVersion = 1;
/// Of one message or value of a register.
constexpr std::uint64_t kPsMaxBodyBytes = std::uint64_t{1} << 30;
/// Messages of a put, keys of a get.
constexpr std::uint32_t kPsMaxCount = 1 << 16;
constexpr std::uint32_t kPsMaxNameBytes = 900;
constexpr std::uint32_t kPsMaxTokenBytes = 1024;
constexpr std::uint32_t kPsMaxJobBytes = 256;

/// Names a message within a job, by the members of a channel's key and in their order: what one source put in one group
/// up to some round is a range.
struct PsKey {
  std::uint32_t view = 0;
  std::uint32_t group = 0;
  std::uint32_t source = 0;
  std::uint64_t round = 0;
  std::uint16_t phase = 0;
  std::uint32_t destination = 0;
  std::uint32_t part = 0;
  auto operator<=>(const PsKey&) const = default;
};
[[nodiscard]] std::string to_string(const PsKey& key);

enum class PsKind : std::uint8_t {
  // Requests
  kHello = 1,
  kPing = 2,
  kPut = 3,
  kGet = 4,
  kTryGet = 5,
  kRetire = 6,
  kSweep = 7,
  kContents = 8,
  kReadRegister = 9,
  kWriteRegister = 10,
  kExchangeRegister = 11,
  kWaitRegister = 12,
  kRemoveRegister = 13,
  // Replies
  kDone = 64,
  kError = 65,
  kMessage = 66,
  kEnd = 67,
  kStored = 68,
  kValue = 69,
  kVersion = 70,
};

/// What every frame begins with; a head and a body follow, of these sizes.
struct PsFrame {
  PsKind kind{};
  std::uint32_t head_bytes = 0;
  std::uint64_t body_bytes = 0;
  bool operator==(const PsFrame&) const = default;
};
constexpr std::size_t kPsFrameBytes = 16;
/// Frame, count, and the largest possible list of keys with sizes; none is longer.
constexpr std::uint32_t kPsMaxHeadBytes = 8 + kPsMaxCount * 38;

[[nodiscard]] PsFrame parse_frame(ByteView bytes);

struct PsHello {
  std::string token;
  std::string job;
  bool operator==(const PsHello&) const = default;
};
struct PsPing {
  bool operator==(const PsPing&) const = default;
};
/// The body: the messages, one after the other.
struct PsPut {
  struct Item {
    PsKey key;
    std::uint64_t bytes = 0;
    bool operator==(const Item&) const = default;
  };
  std::vector<Item> items;
  bool operator==(const PsPut&) const = default;
};
struct PsGet {
  std::uint32_t wait_ms = 0;
  std::vector<PsKey> keys;
  bool operator==(const PsGet&) const = default;
};
struct PsTryGet {
  PsKey key;
  bool operator==(const PsTryGet&) const = default;
};
struct PsRetire {
  std::uint32_t view = 0;
  std::uint32_t group = 0;
  std::uint32_t source = 0;
  std::uint64_t round = 0;
  bool operator==(const PsRetire&) const = default;
};
struct PsSweep {
  std::uint32_t view = 0;
  bool operator==(const PsSweep&) const = default;
};
struct PsContents {
  bool operator==(const PsContents&) const = default;
};
struct PsReadRegister {
  std::string name;
  bool operator==(const PsReadRegister&) const = default;
};
/// The body: the value.
struct PsWriteRegister {
  std::string name;
  std::uint64_t bytes = 0;
  bool operator==(const PsWriteRegister&) const = default;
};
/// The body: the value.
struct PsExchangeRegister {
  std::uint64_t expected = 0;
  std::string name;
  std::uint64_t bytes = 0;
  bool operator==(const PsExchangeRegister&) const = default;
};
struct PsWaitRegister {
  std::uint32_t wait_ms = 0;
  std::uint64_t version = 0;
  std::string name;
  bool operator==(const PsWaitRegister&) const = default;
};
struct PsRemoveRegister {
  std::string name;
  bool operator==(const PsRemoveRegister&) const = default;
};
using PsRequest = std::variant<PsHello, PsPing, PsPut, PsGet, PsTryGet, PsRetire, PsSweep, PsContents, PsReadRegister,
                               PsWriteRegister, PsExchangeRegister, PsWaitRegister, PsRemoveRegister>;

/// Frame and head; the body is sent after them.
[[nodiscard]] Bytes encode_request(const PsRequest& request);
[[nodiscard]] PsRequest parse_request(const PsFrame& frame, ByteView head);

/// Refused, and why; the connection goes on, unless the hello was refused.
struct PsError {
  ErrorKind kind = ErrorKind::kInternal;
  std::string what;
  std::string remedy;
  bool operator==(const PsError&) const = default;
};
struct PsDone {
  bool operator==(const PsDone&) const = default;
};
/// One message of a get; the body is the message.
struct PsMessage {
  std::uint32_t index = 0;  ///< of its key in the request
  std::uint64_t bytes = 0;
  bool operator==(const PsMessage&) const = default;
};
/// A get is over.
struct PsEnd {
  std::vector<std::uint32_t> missing;  ///< indices of the keys that did not come in time
  bool operator==(const PsEnd&) const = default;
};
struct PsStored {
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
  bool operator==(const PsStored&) const = default;
};
/// Of a register, or of the message of a try_get (version 1); version 0: there is none. The body is the value.
struct PsValue {
  std::uint64_t version = 0;
  std::uint64_t bytes = 0;
  bool operator==(const PsValue&) const = default;
};
/// Of what was written; 0: nothing was, because somebody else came first.
struct PsVersion {
  std::uint64_t version = 0;
  bool operator==(const PsVersion&) const = default;
};
using PsReply = std::variant<PsDone, PsError, PsMessage, PsEnd, PsStored, PsValue, PsVersion>;

/// Frame and head; the body is sent after them.
[[nodiscard]] Bytes encode_reply(const PsReply& reply);
[[nodiscard]] PsReply parse_reply(const PsFrame& frame, ByteView head);

}  // namespace virga
