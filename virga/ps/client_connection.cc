#include "virga/ps/client_connection.h"

#include <algorithm>

namespace virga {

PsConnection::PsConnection(const Address& address, const PsHello& hello, const Wait& wait)
    : address_(to_string(address)),
      socket_(address_, "check that virga-ps still runs there; if so, try again"),
      reader_(kPsMaxHeadBytes) {
  const auto its = turn(wait);
  socket_.connect(address);
  send(hello);
  SharedBytes body;
  static_cast<void>(expect<PsDone>(body));
}

void PsConnection::send(const PsRequest& request) {
  const auto bytes = encode_request(request);
  const ByteView part = bytes;
  send({&part, 1});
}

void PsConnection::send(std::span<const ByteView> parts) {
  in_step_ = false;
  socket_.send(parts);
}

PsReply PsConnection::receive(SharedBytes& body) {
  while (reader_.feed(buffered_) != FrameReader::Step::kHead) receive_more();
  auto reply = parse_reply(reader_.frame(), reader_.head());
  body = SharedBytes::make(reader_.frame().body_bytes, [this](std::span<std::byte> to) {
    reader_.fill(to);
    while (reader_.feed(buffered_) != FrameReader::Step::kBody) receive_more();
  });
  reader_.next();
  in_step_ = !std::holds_alternative<PsMessage>(reply);
  if (const auto* error = std::get_if<PsError>(&reply)) {
    throw Error(error->kind, address_ + ": " + error->what, error->remedy);
  }
  return reply;
}

void PsConnection::receive_more() {
  const auto direct = reader_.unfilled();
  const auto count = socket_.receive(direct, buffer_);
  const auto straight = std::min(count, direct.size());
  reader_.filled(straight);
  buffered_ = ByteView(buffer_).first(count - straight);
}

void PsConnection::fail_unexpected() const {
  throw Error(ErrorKind::kCorrupt, address_ + ": the store answered something else than was asked",
              "check that a virga-ps of the same release runs there");
}

}  // namespace virga
