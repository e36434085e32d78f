#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "virga/base/error.h"
#include "virga/channel/direct_link.h"
#include "virga/channel/direct_protocol.h"

namespace virga {
namespace {

/// Takes all messages up to a limit, and counts what it was given.
class Counter final : public DirectReceiver {
 public:
  bool admit(DirectLink& link, const DirectHead& head) override {
    check(link.incoming_bytes() == 0, "a body begins within another one");
    return head.body_bytes <= 4096;
  }
  void take(DirectLink& /*link*/, const DirectHead& head, const std::optional<SharedBytes>& body) override {
    check(!body || body->size() == head.body_bytes, "a body has not the size that was said");
    ++frames;
  }
  void taken(DirectLink& /*link*/, const std::shared_ptr<DirectMessage>& /*message*/) override { ++acknowledged; }
  std::size_t frames = 0, acknowledged = 0;
};

/// What another worker says, in pieces; this end has sent it two messages.
std::size_t listen(ByteView bytes, std::size_t piece) {
  DirectMemory memory;
  DirectLink link(1, Descriptor(), memory);
  for (int i = 0; i < 2; ++i) link.send(std::make_shared<DirectMessage>());
  Counter counter;
  try {
    while (!bytes.empty()) {
      const auto now = bytes.first(std::min(piece, bytes.size()));
      link.feed(now, counter);
      bytes = bytes.subspan(now.size());
    }
  } catch (const Error&) {
  }
  check(counter.acknowledged <= 2, "more was received than was sent");
  return counter.frames;
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace virga;
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto attempt = [](const auto& parse) {
    try {
      parse();
    } catch (const Error&) {
    }
  };
  attempt([&] {
    if (bytes.size() < kDirectHeadBytes) return;
    const auto head = parse_direct_head(bytes.first(kDirectHeadBytes));
    check(parse_direct_head(encode_direct_head(head)) == head, "a head changed on its way");
  });
  const auto body = bytes.subspan(std::min(bytes.size(), kDirectHeadBytes));
  attempt([&] {
    const auto hello = parse_direct_hello(body);
    check(parse_direct_hello(encode_direct_hello(hello)) == hello, "a hello changed on its way");
  });
  attempt([&] {
    const auto refusal = parse_direct_refusal(body);
    check(parse_direct_refusal(encode_direct_refusal(refusal)) == refusal, "a refusal changed on its way");
  });
  check(listen(bytes, size) == listen(bytes, 7), "frames depend on the pieces in which they come");
  return 0;
}
