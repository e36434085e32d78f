#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "virga/base/error.h"
#include "virga/ps/protocol.h"
#include "virga/ps/session.h"

namespace virga {
namespace {

/// What parses must be what its encoding parses to.
template <typename Parse, typename Encode>
void parse_and_back(ByteView bytes, const Parse& parse, const Encode& encode) {
  try {
    const auto frame = parse_frame(bytes);
    const auto head = bytes.subspan(kPsFrameBytes);
    if (head.size() < frame.head_bytes) return;
    const auto message = parse(frame, head.first(frame.head_bytes));
    const auto again = encode(message);
    check(parse_frame(again) == frame && parse(frame, ByteView(again).subspan(kPsFrameBytes)) == message,
          "a message changed on its way");
  } catch (const Error&) {
  }
}

/// A client that sends `bytes`, straight into place where the session asks for it and else in pieces, and reads every
/// reply. Pieces of one byte end where requests end, so that many of them are served.
void converse(ByteView bytes, bool greets, std::size_t piece) {
  PsService service("", 1 << 20);
  {
    PsSession session(service, [] {});
    const auto read_all = [&] { session.sent(session.out().bytes()); };
    if (greets) session.take(encode_request(PsHello{}));
    read_all();
    while (!bytes.empty() && !session.is_over()) {
      const auto direct = session.unfilled();
      const auto straight = std::min(direct.size(), bytes.size());
      std::copy_n(bytes.begin(), straight, direct.begin());
      session.filled(straight);
      bytes = bytes.subspan(straight);
      const auto taken = straight > 0 ? 0 : std::min(piece, bytes.size());
      session.take(bytes.first(taken));
      bytes = bytes.subspan(taken);
      if (session.due()) session.expired(*session.due());
      while (!session.out().empty()) read_all();
      check(service.memory() <= 1 << 20, "the limit of memory was broken");
    }
  }
  check(service.jobs() == 0 || service.memory() > 0, "a job that holds nothing is kept");
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  virga::parse_and_back(bytes, virga::parse_request, virga::encode_request);
  virga::parse_and_back(bytes, virga::parse_reply, virga::encode_reply);
  virga::converse(bytes, /*greets=*/false, /*piece=*/1 << 20);
  virga::converse(bytes, /*greets=*/true, /*piece=*/1);
  virga::converse(bytes, /*greets=*/true, /*piece=*/37);
  return 0;
}
