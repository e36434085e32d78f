#include "virga/channel/direct_protocol.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

constexpr std::uint32_t kMagic = 0x44475256;  // "VRGD"
constexpr std::string_view kWhat = "message of another worker";
constexpr std::uint32_t kMaxTextBytes = 1024;
constexpr std::uint32_t kMaxHelloBytes = 26 + kDirectMaxTokenBytes + kDirectMaxJobBytes;
constexpr std::uint32_t kMaxRefusalBytes = 5 + 2 * kMaxTextBytes;

/// The kinds of error that one worker tells another, by their number on the wire.
constexpr std::array kErrorKinds = {ErrorKind::kInternal,     ErrorKind::kConflict, ErrorKind::kTooLarge,
                                    ErrorKind::kUnauthorized, ErrorKind::kCorrupt,  ErrorKind::kThrottled,
                                    ErrorKind::kUnsupported};

[[noreturn]] void refuse(std::string_view why) { throw Error(ErrorKind::kCorrupt, fmt::format("{}: {}", kWhat, why)); }

std::uint32_t most_body_bytes(DirectKind kind) {
  switch (kind) {
    case DirectKind::kHello:
      return kMaxHelloBytes;
    case DirectKind::kRefused:
      return kMaxRefusalBytes;
    case DirectKind::kMessage:
      return kDirectMaxMessageBytes;
    case DirectKind::kWelcome:
    case DirectKind::kTaken:
    case DirectKind::kWant:
    case DirectKind::kAsk:
    case DirectKind::kRetire:
    case DirectKind::kSweep:
    case DirectKind::kPing:
    case DirectKind::kPong:
      return 0;
  }
  refuse(fmt::format("{} is no kind of frame", static_cast<int>(kind)));
}

/// Fields one after the other, without a buffer that grows: a head is made for each message.
class HeadWriter {
 public:
  explicit HeadWriter(EncodedDirectHead& out) : out_(out) {}
  template <typename T>
  void put(T value) noexcept {
    std::memcpy(&out_[at_], &value, sizeof(T));
    at_ += sizeof(T);
  }
  void skip(std::size_t bytes) noexcept { at_ += bytes; }

 private:
  EncodedDirectHead& out_;
  std::size_t at_ = 0;
};

void put_text(std::string_view text, std::size_t limit, ByteWriter& out) {
  text = text.substr(0, limit);
  out.put(static_cast<std::uint16_t>(text.size()));
  out.put_span(std::span<const char>(text));
}

std::string get_text(ByteReader& in, std::size_t limit) {
  const auto size = in.get<std::uint16_t>();
  if (size > limit) refuse(fmt::format("a text of {} bytes, but {} is the most", size, limit));
  return std::string(as_text(in.take(size)));
}

void put_member(const Member& member, ByteWriter& out) {
  out.put(member.worker);
  out.put(member.generation);
}

Member get_member(ByteReader& in) {
  Member member;
  member.worker = in.get<std::uint32_t>();
  member.generation = in.get<std::uint32_t>();
  return member;
}

void check_end(const ByteReader& in) {
  if (in.remaining() != 0) refuse("it is longer than what it says");
}

}  // namespace

EncodedDirectHead encode_direct_head(const DirectHead& head) noexcept {
  EncodedDirectHead bytes{};
  HeadWriter out(bytes);
  out.put(head.kind);
  out.skip(3);
  out.put(head.body_bytes);
  out.put(head.taken);
  out.put(head.key.view);
  out.put(head.key.group);
  out.put(head.key.source);
  out.put(head.key.round);
  out.put(head.key.phase);
  out.put(head.key.destination);
  out.put(head.key.part);
  return bytes;
}

DirectHead parse_direct_head(ByteView bytes) {
  ByteReader in(bytes.first(kDirectHeadBytes), kWhat);
  DirectHead head;
  head.kind = in.get<DirectKind>();
  for (int i = 0; i < 3; ++i) {
    if (in.get<std::uint8_t>() != 0) refuse("a byte that is to be 0 is not");
  }
  head.body_bytes = in.get<std::uint32_t>();
  head.taken = in.get<std::uint64_t>();
  head.key = decode_key(in);
  if (in.get<std::uint16_t>() != 0) refuse("a byte that is to be 0 is not");
  if (const auto most = most_body_bytes(head.kind); head.body_bytes > most) {
    refuse(fmt::format("a body of {} bytes, but {} is the most", head.body_bytes, most));
  }
  return head;
}

Bytes encode_direct_hello(const DirectHello& hello) {
  Bytes bytes;
  ByteWriter out(bytes);
  out.put(kMagic);
  out.put(kDirectVersion);
  put_member(hello.from, out);
  put_member(hello.to, out);
  put_text(hello.token, kDirectMaxTokenBytes, out);
  put_text(hello.job, kDirectMaxJobBytes, out);
  return bytes;
}

DirectHello parse_direct_hello(ByteView body) {
  ByteReader in(body, kWhat);
  if (in.get<std::uint32_t>() != kMagic) refuse("this is no hello of a worker");
  if (const auto version = in.get<std::uint16_t>(); version != kDirectVersion) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("one worker speaks version {} of the direct channel's protocol, another version {}",
                            version, kDirectVersion),
                "run the same release of Virga everywhere");
  }
  DirectHello hello;
  hello.from = get_member(in);
  hello.to = get_member(in);
  hello.token = get_text(in, kDirectMaxTokenBytes);
  hello.job = get_text(in, kDirectMaxJobBytes);
  check_end(in);
  return hello;
}

Bytes encode_direct_refusal(const DirectRefusal& refusal) {
  Bytes bytes;
  ByteWriter out(bytes);
  const auto* const at = std::ranges::find(kErrorKinds, refusal.kind);
  out.put(static_cast<std::uint8_t>(at == kErrorKinds.end() ? 0 : at - kErrorKinds.begin()));
  put_text(refusal.what, kMaxTextBytes, out);
  put_text(refusal.remedy, kMaxTextBytes, out);
  return bytes;
}

DirectRefusal parse_direct_refusal(ByteView body) {
  ByteReader in(body, kWhat);
  const auto number = in.get<std::uint8_t>();
  if (number >= kErrorKinds.size()) refuse("an unknown kind of error");
  DirectRefusal refusal;
  refusal.kind = kErrorKinds[number];
  refusal.what = get_text(in, kMaxTextBytes);
  refusal.remedy = get_text(in, kMaxTextBytes);
  check_end(in);
  return refusal;
}

}  // namespace virga
