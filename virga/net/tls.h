#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "virga/base/bytes.h"
#include "virga/base/environment.h"
#include "virga/net/address.h"

namespace virga {

/// The most that a file of authorities may hold; a system's own has some 220 KB.
constexpr std::size_t kMostAuthorityBytes = std::size_t{4} << 20;

/// What the connections of a client to one server share: the authorities that it believes, and the newest session, by
/// which the next handshake is short. TLS 1.2 or 1.3. Several threads may make streams of it at once.
class TlsClient {
 public:
  /// Reads the authorities: the file that `peer` names, else what `environment` names (SSL_CERT_FILE, SSL_CERT_DIR),
  /// else those of this system (docs/tls.md). Throws Error: kNotFound, kTooLarge, kIo, kBadData, naming the file.
  explicit TlsClient(const TlsPeer& peer, const Environment& environment = process_environment());
  ~TlsClient();
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

 private:
  friend class TlsStream;
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

/// For the server at `address`; null if it speaks plain text.
[[nodiscard]] std::shared_ptr<TlsClient> make_tls_client(const Address& address);

/// The client's end of TLS on one connection. It never waits: what cannot be done now says what to wait for. For one
/// thread at a time. Errors name the server's name, the reason and the remedy: kUnauthorized for a certificate that
/// does not prove it, kBadData for what is no TLS, kUnsupported for a TLS that is not ours, kUnavailable where the
/// connection ends without TLS's own end. After an error the stream is of no more use.
class TlsStream {
 public:
  /// `socket` is connected and does not block; it stays the caller's, and open until close() or the end of
  /// the stream.
  TlsStream(std::shared_ptr<TlsClient> client, int socket);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  /// kAwait...: nothing was done; the same call is to be made again once the socket is ready for that.
  enum class Next : std::uint8_t { kDone, kAwaitReadable, kAwaitWritable };
  struct Moved {
    std::size_t count = 0;
    Next next = Next::kDone;
  };

  /// First of all, until it is done: the server is who it is then.
  [[nodiscard]] Next shake_hands();
  /// None and kDone: the server says that nothing follows. What was decrypted already makes no socket readable, so
  /// readers go on until kAwaitReadable.
  [[nodiscard]] Moved read(std::span<std::byte> to);
  /// Some of `parts`, one after the other; small ones go together.
  [[nodiscard]] Moved write(std::span<const ByteView> parts);
  /// Has something arrived that read() has not given? Perhaps only a part of what it needs.
  [[nodiscard]] bool has_pending() const noexcept;
  /// Is the connection open, with nothing to read?
  [[nodiscard]] bool is_quiet() const noexcept;
  /// Was the handshake a short one?
  [[nodiscard]] bool is_resumed() const noexcept;
  /// Tells the server that nothing follows, if that can be done at once; the stream is of no more use.
  void close() noexcept;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace virga
