#include "virga/ps/protocol.h"

#include <array>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace virga {
namespace {

constexpr std::uint32_t kMagic = 0x53505256;  // "VRPS"
constexpr std::size_t kKeyBytes = 30;
constexpr std::string_view kWhat = "message of a data store";
constexpr std::uint32_t kMaxTextBytes = 4096;

/// The kinds of error that a store reports, by their number on the wire.
constexpr std::array kErrorKinds = {ErrorKind::kInternal,     ErrorKind::kConflict, ErrorKind::kTooLarge,
                                    ErrorKind::kUnauthorized, ErrorKind::kCorrupt,  ErrorKind::kThrottled,
                                    ErrorKind::kUnsupported};

[[noreturn]] void refuse(std::string_view why) { throw Error(ErrorKind::kCorrupt, fmt::format("{}: {}", kWhat, why)); }

void put_key(const PsKey& key, ByteWriter& out) {
  out.put(key.view);
  out.put(key.group);
  out.put(key.source);
  out.put(key.round);
  out.put(key.phase);
  out.put(key.destination);
  out.put(key.part);
}

PsKey get_key(ByteReader& in) {
  PsKey key;
  key.view = in.get<std::uint32_t>();
  key.group = in.get<std::uint32_t>();
  key.source = in.get<std::uint32_t>();
  key.round = in.get<std::uint64_t>();
  key.phase = in.get<std::uint16_t>();
  key.destination = in.get<std::uint32_t>();
  key.part = in.get<std::uint32_t>();
  return key;
}

void put_text(std::string_view text, ByteWriter& out) {
  out.put(static_cast<std::uint16_t>(text.size()));
  out.put_span(std::span<const char>(text));
}

std::string get_text(ByteReader& in, std::size_t limit) {
  const auto size = in.get<std::uint16_t>();
  if (size > limit) refuse(fmt::format("a text of {} bytes, but {} is the most", size, limit));
  return std::string(as_text(in.take(size)));
}

/// A count of entries of `entry_bytes` each, all of which are still to come.
std::uint32_t get_count(ByteReader& in, std::size_t entry_bytes) {
  const auto count = in.get<std::uint32_t>();
  if (count > kPsMaxCount || count * entry_bytes != in.remaining()) refuse("a count that its size does not allow");
  return count;
}

struct Encoder {
  ByteWriter& out;
  std::uint64_t body_bytes = 0;

  PsKind operator()(const PsHello& hello) {
    out.put(kMagic);
    out.put(kPsVersion);
    put_text(hello.token, out);
    put_text(hello.job, out);
    return PsKind::kHello;
  }
  PsKind operator()(const PsPing&) { return PsKind::kPing; }
  PsKind operator()(const PsPut& put) {
    out.put(static_cast<std::uint32_t>(put.items.size()));
    for (const auto& item : put.items) {
      put_key(item.key, out);
      out.put(item.bytes);
      body_bytes += item.bytes;
    }
    return PsKind::kPut;
  }
  PsKind operator()(const PsGet& get) {
    out.put(get.wait_ms);
    out.put(static_cast<std::uint32_t>(get.keys.size()));
    for (const auto& key : get.keys) put_key(key, out);
    return PsKind::kGet;
  }
  PsKind operator()(const PsTryGet& get) {
    put_key(get.key, out);
    return PsKind::kTryGet;
  }
  PsKind operator()(const PsRetire& retire) {
    out.put(retire.view);
    out.put(retire.group);
    out.put(retire.source);
    out.put(retire.round);
    return PsKind::kRetire;
  }
  PsKind operator()(const PsSweep& sweep) {
    out.put(sweep.view);
    return PsKind::kSweep;
  }
  PsKind operator()(const PsContents&) { return PsKind::kContents; }
  PsKind operator()(const PsReadRegister& read) {
    put_text(read.name, out);
    return PsKind::kReadRegister;
  }
  PsKind operator()(const PsWriteRegister& write) {
    put_text(write.name, out);
    body_bytes = write.bytes;
    return PsKind::kWriteRegister;
  }
  PsKind operator()(const PsExchangeRegister& exchange) {
    out.put(exchange.expected);
    put_text(exchange.name, out);
    body_bytes = exchange.bytes;
    return PsKind::kExchangeRegister;
  }
  PsKind operator()(const PsWaitRegister& wait) {
    out.put(wait.wait_ms);
    out.put(wait.version);
    put_text(wait.name, out);
    return PsKind::kWaitRegister;
  }
  PsKind operator()(const PsRemoveRegister& remove) {
    put_text(remove.name, out);
    return PsKind::kRemoveRegister;
  }

  PsKind operator()(const PsDone&) { return PsKind::kDone; }
  PsKind operator()(const PsError& error) {
    std::uint8_t number = 0;
    for (std::size_t i = 0; i < kErrorKinds.size(); ++i) {
      if (kErrorKinds[i] == error.kind) number = static_cast<std::uint8_t>(i);
    }
    out.put(number);
    put_text(std::string_view(error.what).substr(0, kMaxTextBytes), out);
    put_text(std::string_view(error.remedy).substr(0, kMaxTextBytes), out);
    return PsKind::kError;
  }
  PsKind operator()(const PsMessage& message) {
    out.put(message.index);
    body_bytes = message.bytes;
    return PsKind::kMessage;
  }
  PsKind operator()(const PsEnd& end) {
    out.put(static_cast<std::uint32_t>(end.missing.size()));
    out.put_span(std::span(end.missing));
    return PsKind::kEnd;
  }
  PsKind operator()(const PsStored& stored) {
    out.put(stored.messages);
    out.put(stored.bytes);
    return PsKind::kStored;
  }
  PsKind operator()(const PsValue& value) {
    out.put(value.version);
    body_bytes = value.bytes;
    return PsKind::kValue;
  }
  PsKind operator()(const PsVersion& version) {
    out.put(version.version);
    return PsKind::kVersion;
  }
};

template <typename Variant>
Bytes encode(const Variant& message) {
  Bytes bytes;
  bytes.reserve(128);
  ByteWriter out(bytes);
  for (int i = 0; i < 2; ++i) out.put(std::uint64_t{0});
  Encoder encoder{out};
  const auto kind = std::visit(encoder, message);
  const auto head_bytes = static_cast<std::uint32_t>(bytes.size() - kPsFrameBytes);
  bytes[0] = static_cast<std::byte>(kind);
  std::memcpy(&bytes[4], &head_bytes, sizeof(head_bytes));
  std::memcpy(&bytes[8], &encoder.body_bytes, sizeof(encoder.body_bytes));
  return bytes;
}

PsHello get_hello(ByteReader& in) {
  if (in.get<std::uint32_t>() != kMagic) refuse("this is no virga-ps protocol");
  if (const auto version = in.get<std::uint16_t>(); version != kPsVersion) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("the client speaks version {} of the protocol, this store version {}", version, kPsVersion),
                "use the same release of Virga on both sides");
  }
  PsHello hello;
  hello.token = get_text(in, kPsMaxTokenBytes);
  hello.job = get_text(in, kPsMaxJobBytes);
  return hello;
}

PsPut get_put(ByteReader& in, std::uint64_t body_bytes) {
  PsPut put;
  put.items.resize(get_count(in, kKeyBytes + sizeof(std::uint64_t)));
  std::uint64_t sum = 0;  // at most 2^16 messages of 2^30 bytes
  for (auto& item : put.items) {
    item.key = get_key(in);
    item.bytes = in.get<std::uint64_t>();
    if (item.bytes > kPsMaxBodyBytes) refuse(fmt::format("a message of {} bytes", item.bytes));
    sum += item.bytes;
  }
  if (sum != body_bytes) refuse("the messages of a put have another size than all together");
  return put;
}

PsGet get_get(ByteReader& in) {
  PsGet get;
  get.wait_ms = in.get<std::uint32_t>();
  get.keys.resize(get_count(in, kKeyBytes));
  for (auto& key : get.keys) key = get_key(in);
  return get;
}

PsRetire get_retire(ByteReader& in) {
  PsRetire retire;
  retire.view = in.get<std::uint32_t>();
  retire.group = in.get<std::uint32_t>();
  retire.source = in.get<std::uint32_t>();
  retire.round = in.get<std::uint64_t>();
  return retire;
}

std::uint64_t single_body(std::uint64_t bytes) {
  if (bytes > kPsMaxBodyBytes) refuse(fmt::format("a body of {} bytes", bytes));
  return bytes;
}

PsRequest get_request(const PsFrame& frame, ByteReader& in) {
  switch (frame.kind) {
    case PsKind::kHello:
      return get_hello(in);
    case PsKind::kPing:
      return PsPing();
    case PsKind::kPut:
      return get_put(in, frame.body_bytes);
    case PsKind::kGet:
      return get_get(in);
    case PsKind::kTryGet:
      return PsTryGet{get_key(in)};
    case PsKind::kRetire:
      return get_retire(in);
    case PsKind::kSweep:
      return PsSweep{in.get<std::uint32_t>()};
    case PsKind::kContents:
      return PsContents();
    case PsKind::kReadRegister:
      return PsReadRegister{get_text(in, kPsMaxNameBytes)};
    case PsKind::kWriteRegister:
      return PsWriteRegister{get_text(in, kPsMaxNameBytes), single_body(frame.body_bytes)};
    case PsKind::kExchangeRegister: {
      const auto expected = in.get<std::uint64_t>();
      return PsExchangeRegister{expected, get_text(in, kPsMaxNameBytes), single_body(frame.body_bytes)};
    }
    case PsKind::kWaitRegister: {
      const auto wait_ms = in.get<std::uint32_t>();
      const auto version = in.get<std::uint64_t>();
      return PsWaitRegister{wait_ms, version, get_text(in, kPsMaxNameBytes)};
    }
    case PsKind::kRemoveRegister:
      return PsRemoveRegister{get_text(in, kPsMaxNameBytes)};
    default:
      refuse(fmt::format("{} is no request", static_cast<int>(frame.kind)));
  }
}

PsError get_error(ByteReader& in) {
  PsError error;
  const auto number = in.get<std::uint8_t>();
  if (number >= kErrorKinds.size()) refuse("an unknown kind of error");
  error.kind = kErrorKinds[number];
  error.what = get_text(in, kMaxTextBytes);
  error.remedy = get_text(in, kMaxTextBytes);
  return error;
}

PsReply get_reply(const PsFrame& frame, ByteReader& in) {
  switch (frame.kind) {
    case PsKind::kDone:
      return PsDone();
    case PsKind::kError:
      return get_error(in);
    case PsKind::kMessage:
      return PsMessage{in.get<std::uint32_t>(), single_body(frame.body_bytes)};
    case PsKind::kEnd: {
      PsEnd end;
      end.missing.resize(get_count(in, sizeof(std::uint32_t)));
      in.get_span(std::span(end.missing));
      return end;
    }
    case PsKind::kStored: {
      const auto messages = in.get<std::uint64_t>();
      return PsStored{messages, in.get<std::uint64_t>()};
    }
    case PsKind::kValue:
      return PsValue{in.get<std::uint64_t>(), single_body(frame.body_bytes)};
    case PsKind::kVersion:
      return PsVersion{in.get<std::uint64_t>()};
    default:
      refuse(fmt::format("{} is no reply", static_cast<int>(frame.kind)));
  }
}

bool has_body(PsKind kind) {
  return kind == PsKind::kPut || kind == PsKind::kWriteRegister || kind == PsKind::kExchangeRegister ||
         kind == PsKind::kMessage || kind == PsKind::kValue;
}

/// What `get` makes of the head; it must use all of it.
template <typename Get>
auto parse_head(const PsFrame& frame, ByteView head, const Get& get) {
  ByteReader in(head, kWhat);
  if (frame.body_bytes != 0 && !has_body(frame.kind)) refuse("a body where there is none");
  auto message = get(frame, in);
  if (in.remaining() != 0) refuse("a head that is too long");
  return message;
}

}  // namespace

std::string to_string(const PsKey& key) {
  const auto to = key.destination == 0xffffffff ? "everybody" : std::to_string(key.destination);
  return fmt::format("view {}, group {}, round {}, phase {}, from {} to {}, part {}", key.view, key.group, key.round,
                     key.phase, key.source, to, key.part);
}

PsFrame parse_frame(ByteView bytes) {
  ByteReader in(bytes, kWhat);
  PsFrame frame;
  frame.kind = in.get<PsKind>();
  for (int i = 0; i < 3; ++i) {
    if (in.get<std::uint8_t>() != 0) refuse("this is no virga-ps protocol");
  }
  frame.head_bytes = in.get<std::uint32_t>();
  frame.body_bytes = in.get<std::uint64_t>();
  if (frame.head_bytes > kPsMaxHeadBytes) refuse(fmt::format("a head of {} bytes", frame.head_bytes));
  return frame;
}

Bytes encode_request(const PsRequest& request) { return encode(request); }
PsRequest parse_request(const PsFrame& frame, ByteView head) { return parse_head(frame, head, get_request); }
Bytes encode_reply(const PsReply& reply) { return encode(reply); }
PsReply parse_reply(const PsFrame& frame, ByteView head) { return parse_head(frame, head, get_reply); }

}  // namespace virga
