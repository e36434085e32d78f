#include "virga/channel/memcached_connection.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

constexpr auto kLostRemedy = "check that Memcached still runs there; if so, try again";
/// No server has larger items (-I).
constexpr std::uint64_t kMostItemBytes = std::uint64_t{1} << 30;

}  // namespace

MemcachedConnection::MemcachedConnection(const Address& address, const std::string& uri, std::string_view token,
                                         const Wait& wait)
    : uri_(uri), socket_(uri, kLostRemedy), reader_(kMostItemBytes) {
  const Turn turn(socket_, wait);
  try {
    socket_.connect(address);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnavailable) throw;
    throw Error(ErrorKind::kUnavailable, fmt::format("{}: there is no Memcached: {}", uri_, error.what()),
                "check the address, and that Memcached runs there");
  }
  if (!token.empty()) authenticate(token);
}

/// The token goes only to a server that asks for it: another one would store it as a value.
void MemcachedConnection::authenticate(std::string_view token) {
  send("mn\r\n");
  try {
    if (receive().kind != MemcachedReply::Kind::kNoop) fail_unexpected();
    return done();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnauthorized) throw;
  }
  auto user_and_password = std::string(token);
  if (const auto colon = user_and_password.find(':'); colon != std::string::npos) user_and_password[colon] = ' ';
  send(fmt::format("set auth 0 0 {}\r\n{}\r\n", user_and_password.size(), user_and_password));
  if (receive().kind != MemcachedReply::Kind::kStored) fail_unexpected();
  done();
}

void MemcachedConnection::send(std::span<const ByteView> parts) {
  in_step_ = false;
  socket_.send(parts);
}

void MemcachedConnection::send(std::string_view commands) {
  const auto part = as_bytes(commands);
  send({&part, 1});
}

const MemcachedReply& MemcachedConnection::receive() {
  try {
    while (reader_.feed(buffered_) != MemcachedReader::Step::kReply) receive_more();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kCorrupt) throw;
    throw Error(ErrorKind::kCorrupt, fmt::format("{}: {}", uri_, error.what()));
  }
  if (reader_.reply().kind == MemcachedReply::Kind::kError) throw_refusal(reader_.reply().text);
  return reader_.reply();
}

SharedBytes MemcachedConnection::receive_value() {
  return SharedBytes::make(reader_.reply().value_bytes, [this](std::span<std::byte> to) { receive_value(to); });
}

void MemcachedConnection::receive_value(std::span<std::byte> to) {
  reader_.fill(to);
  while (reader_.feed(buffered_) != MemcachedReader::Step::kValue) receive_more();
}

void MemcachedConnection::receive_more() {
  const auto direct = reader_.unfilled();
  const auto count = socket_.receive(direct, buffer_);
  const auto straight = std::min(count, direct.size());
  reader_.filled(straight);
  buffered_ = ByteView(buffer_).first(count - straight);
}

void MemcachedConnection::fail_unexpected() const {
  throw Error(ErrorKind::kCorrupt, uri_ + ": Memcached answered something else than was asked");
}

void MemcachedConnection::throw_refusal(std::string_view line) const {
  std::string shown;
  for (const char c : line.substr(0, 200)) shown += c >= ' ' && c <= '~' ? c : '?';
  const auto what = fmt::format("{}: {}", uri_, shown);
  const auto says = [&](std::string_view words) { return line.find(words) != std::string_view::npos; };
  if (says("unauthenticated")) {
    throw Error(ErrorKind::kUnauthorized, uri_ + ": Memcached wants a user and a password",
                "set the variable VIRGA_CHANNEL_TOKEN to user:password, as in the file that Memcached was given by -Y");
  }
  if (says("authentication")) {
    throw Error(ErrorKind::kUnauthorized, uri_ + ": Memcached refused the user or the password",
                "set the variable VIRGA_CHANNEL_TOKEN to user:password, as in the file that Memcached was given by -Y");
  }
  if (says("object too large")) {
    throw Error(ErrorKind::kTooLarge, what, "start Memcached with larger items (-I)");
  }
  if (says("out of memory storing")) {
    throw Error(ErrorKind::kTooLarge, what + ": it is full", "start Memcached with more memory (-m)");
  }
  if (line.starts_with("SERVER_ERROR") || says("Too many open connections")) {
    throw Error(ErrorKind::kUnavailable, what, "see what Memcached reports; if it is busy, try again");
  }
  throw Error(ErrorKind::kUnsupported, what, "check that Memcached 1.6 or later runs there");
}

}  // namespace virga
