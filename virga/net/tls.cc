#include "virga/net/tls.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>
#include <string_view>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <climits>
#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/net/tls_authorities.h"

namespace virga {
namespace {

constexpr std::size_t kRecordBytes = std::size_t{16} << 10;      // the most that one may hold (RFC 8446, 5.1)
constexpr std::size_t kReadBufferBytes = std::size_t{64} << 10;  // several records at once
constexpr std::size_t kMostNamesInText = 4;
constexpr auto kCutOff = " ended the connection without the end that TLS has";

template <auto kFree>
struct Freed {
  template <typename T>
  void operator()(T* object) const noexcept {
    kFree(object);
  }
};
using Context = std::unique_ptr<SSL_CTX, Freed<&::SSL_CTX_free>>;
using Session = std::unique_ptr<SSL_SESSION, Freed<&::SSL_SESSION_free>>;
using BioMethod = std::unique_ptr<BIO_METHOD, Freed<&::BIO_meth_free>>;

/// What OpenSSL reads from and writes to: without signals, and never waiting.
struct Wire {
  int socket = -1;
  bool has_ended = false;
  int error_number = 0;
};

Wire& wire_of(BIO* bio) { return *static_cast<Wire*>(::BIO_get_data(bio)); }

int take_result(BIO* bio, ssize_t count, int retry) {
  if (count >= 0) return static_cast<int>(count);
  if (errno == EAGAIN || errno == EINTR) {
    BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
  } else {
    wire_of(bio).error_number = errno;
  }
  return -1;
}

int write_to_wire(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const auto wanted = static_cast<std::size_t>(size);
  return take_result(bio, ::send(wire_of(bio).socket, bytes, wanted, MSG_NOSIGNAL | MSG_DONTWAIT), BIO_FLAGS_WRITE);
}

int read_from_wire(BIO* bio, char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const auto count = ::recv(wire_of(bio).socket, bytes, static_cast<std::size_t>(size), MSG_DONTWAIT);
  if (count == 0) wire_of(bio).has_ended = true;
  return take_result(bio, count, BIO_FLAGS_READ);
}

long control_wire(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
  if (command == BIO_CTRL_EOF) return wire_of(bio).has_ended ? 1 : 0;
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

bool is_number_of_host(const std::string& name) {
  std::array<std::byte, sizeof(in6_addr)> number{};
  return ::inet_pton(AF_INET, name.c_str(), number.data()) == 1 ||
         ::inet_pton(AF_INET6, name.c_str(), number.data()) == 1;
}

/// "Nov 21 00:00:00 2026 GMT".
std::string text_of_time(const ASN1_TIME* time) {
  const std::unique_ptr<BIO, Freed<&::BIO_free>> bio(::BIO_new(::BIO_s_mem()));
  char* text = nullptr;
  if (!bio || ::ASN1_TIME_print(bio.get(), time) != 1) return "?";
  const auto size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

void free_names(GENERAL_NAMES* names) { ::GENERAL_NAMES_free(names); }

/// Those that a certificate is for. What it says is not to be trusted: no control characters.
std::string names_in(const X509* certificate) {
  const std::unique_ptr<GENERAL_NAMES, Freed<&free_names>> names(
      static_cast<GENERAL_NAMES*>(::X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::string text;
  std::size_t count = 0;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const auto* name = sk_GENERAL_NAME_value(names.get(), i);
    std::string one;
    if (name->type == GEN_DNS) {
      const auto* dns = name->d.dNSName;
      one.assign(reinterpret_cast<const char*>(::ASN1_STRING_get0_data(dns)),
                 static_cast<std::size_t>(std::clamp(::ASN1_STRING_length(dns), 0, 253)));
    } else if (name->type == GEN_IPADD) {
      const auto* number = name->d.iPAddress;
      const int size = ::ASN1_STRING_length(number);
      std::array<char, INET6_ADDRSTRLEN> digits{};
      if (size != 4 && size != 16) continue;
      ::inet_ntop(size == 4 ? AF_INET : AF_INET6, ::ASN1_STRING_get0_data(number), digits.data(), digits.size());
      one = digits.data();
    } else {
      continue;
    }
    if (count++ == kMostNamesInText) return text + ", ...";
    std::ranges::replace_if(
        one, [](char c) { return c <= ' ' || c == 0x7F; }, '?');
    text += (text.empty() ? "" : ", ") + one;
  }
  return text.empty() ? "no name at all" : text;
}

std::string word_of(unsigned long error) {
  const char* reason = ::ERR_reason_error_string(error);
  return reason == nullptr ? fmt::format("error {:x}", error) : reason;
}

Error unavailable(const std::string& what) {
  return {ErrorKind::kUnavailable, what, "check that the server is well and speaks TLS at this port, and try again"};
}

Error wants_certificate(const std::string& who) {
  return {ErrorKind::kUnsupported, fmt::format("{} wants a certificate of its clients, and there is none", who),
          "let it take clients without one (Redis: tls-auth-clients no)"};
}

/// Of an error of libssl's in the handshake or, as TLS 1.3 refuses clients late, after it.
Error protocol_error(unsigned long code, const std::string& who) {
  switch (ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_ENCRYPTED_LENGTH_TOO_LONG:
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_HTTP_REQUEST:
      return {ErrorKind::kBadData, fmt::format("{} speaks no TLS at this port", who),
              "use http:// or redis:// if it speaks plain text, in a network that you trust; else check the port"};
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
      return unavailable(who + kCutOff);
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
    case SSL_R_VERSION_TOO_LOW:
      return {ErrorKind::kUnsupported, fmt::format("{} speaks neither TLS 1.2 nor TLS 1.3", who),
              "let the server allow TLS 1.2"};
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
      return wants_certificate(who);
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
      return {ErrorKind::kUnsupported, fmt::format("{} finds no way to speak TLS that both know", who),
              "let it allow the usual ciphers, and clients without a certificate (Redis: tls-auth-clients no)"};
    default:
      return {ErrorKind::kBadData, fmt::format("{}: TLS failed: {}", who, word_of(code)),
              "check that the server is well, and that nothing changes what it sends"};
  }
}

}  // namespace

class TlsClient::Impl {
 public:
  Impl(TlsPeer its_peer, const Environment& environment) : peer(std::move(its_peer)) {
    // No configuration file of a system that is not the one this was built on, and nothing to be done at exit.
    ::OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, nullptr);
    authorities = find_authorities(peer.authorities, environment);
    context.reset(::SSL_CTX_new(::TLS_client_method()));
    wire.reset(::BIO_meth_new(::BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket"));
    check(context && wire, "OpenSSL has no memory");
    ::BIO_meth_set_write(wire.get(), write_to_wire);
    ::BIO_meth_set_read(wire.get(), read_from_wire);
    ::BIO_meth_set_ctrl(wire.get(), control_wire);
    auto* const its = context.get();
    SSL_CTX_set_min_proto_version(its, TLS1_2_VERSION);
    ::SSL_CTX_set_security_level(its, 2);
    ::SSL_CTX_set_options(its, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(its,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(its, 1);
    ::SSL_CTX_set_default_read_buffer_len(its, kReadBufferBytes);
    ::SSL_CTX_set1_cert_store(its, authorities.store.get());
    SSL_CTX_set_session_cache_mode(its, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_set_app_data(its, this);
    ::SSL_CTX_sess_set_new_cb(its, [](SSL* stream, SSL_SESSION* session) {
      auto* const self = static_cast<Impl*>(SSL_CTX_get_app_data(::SSL_get_SSL_CTX(stream)));
      self->keep(Session(session));
      return 1;
    });
  }

  void keep(Session session) {
    const std::scoped_lock lock(mutex);
    session_.swap(session);
  }
  void resume(SSL* stream) {
    const std::scoped_lock lock(mutex);
    if (session_) ::SSL_set_session(stream, session_.get());
  }

  const TlsPeer peer;
  TlsAuthorities authorities;
  Context context;
  BioMethod wire;

 private:
  std::mutex mutex;  // guards what follows
  Session session_;
};

TlsClient::TlsClient(const TlsPeer& peer, const Environment& environment)
    : impl_(std::make_unique<Impl>(peer, environment)) {}
TlsClient::~TlsClient() = default;

std::shared_ptr<TlsClient> make_tls_client(const Address& address) {
  return address.tls ? std::make_shared<TlsClient>(*address.tls) : nullptr;
}

class TlsStream::Impl {
 public:
  Impl(std::shared_ptr<TlsClient> client, int socket) : client_(std::move(client)), wire_{.socket = socket} {
    const auto& peer = shared().peer;
    ssl.reset(::SSL_new(shared().context.get()));
    BIO* const bio = ::BIO_new(shared().wire.get());
    check(ssl && bio != nullptr, "OpenSSL has no memory");
    ::BIO_set_data(bio, &wire_);
    ::BIO_set_init(bio, 1);
    ::SSL_set_bio(ssl.get(), bio, bio);
    SSL_set_app_data(ssl.get(), this);
    ::SSL_set_cert_cb(
        ssl.get(),
        [](SSL*, void* self) {
          static_cast<Impl*>(self)->was_asked_ = true;
          return 1;
        },
        this);
    ::SSL_set_verify(ssl.get(), SSL_VERIFY_PEER, [](int good, X509_STORE_CTX* chain) {
      if (good != 1) {
        const auto* const stream =
            static_cast<SSL*>(::X509_STORE_CTX_get_ex_data(chain, ::SSL_get_ex_data_X509_STORE_CTX_idx()));
        static_cast<Impl*>(SSL_get_app_data(stream))->refuse(chain);
      }
      return good;
    });
    auto* const parameters = ::SSL_get0_param(ssl.get());
    ::X509_VERIFY_PARAM_set_hostflags(parameters,
                                      X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    const bool is_number = is_number_of_host(peer.name);
    const int set = is_number ? ::X509_VERIFY_PARAM_set1_ip_asc(parameters, peer.name.c_str())
                              : ::X509_VERIFY_PARAM_set1_host(parameters, peer.name.c_str(), peer.name.size());
    if (peer.name.empty() || set != 1 || (!is_number && !ask_for(peer.name))) {
      throw Error(ErrorKind::kUsage, fmt::format("TLS: \"{}\" is no name of a host", peer.name.substr(0, 300)),
                  "give the name that the server's certificate is for");
    }
    ::SSL_set_connect_state(ssl.get());
    shared().resume(ssl.get());
  }

  Next shake_hands() {
    ::ERR_clear_error();
    const int result = ::SSL_do_handshake(ssl.get());
    if (result == 1) return Next::kDone;
    try {
      return next_after(result);
    } catch (const Error&) {
      shared().keep(nullptr);
      throw;
    }
  }

  Moved read(std::span<std::byte> to) {
    ::ERR_clear_error();
    std::size_t count = 0;
    const int result = ::SSL_read_ex(ssl.get(), to.data(), to.size(), &count);
    if (result == 1) {
      is_answered_ = true;
      return {.count = count};
    }
    return {.next = next_after(result)};
  }

  Moved write(std::span<const ByteView> parts) {
    while (!parts.empty() && parts[0].empty()) parts = parts.subspan(1);
    if (parts.empty()) return {};
    auto from = parts[0].first(std::min(parts[0].size(), kRecordBytes));
    // What is written again has the same bytes, though not at the same place.
    if (from.size() < kRecordBytes && parts.size() > 1) from = gathered(parts);
    ::ERR_clear_error();
    std::size_t count = 0;
    const int result = ::SSL_write_ex(ssl.get(), from.data(), from.size(), &count);
    if (result == 1) return {.count = count};
    const auto next = next_after(result);
    if (next == Next::kDone) throw unavailable(who() + " takes nothing more");
    return {.next = next};
  }

  bool is_quiet() noexcept {
    ::ERR_clear_error();
    char byte = 0;
    std::size_t count = 0;
    const int result = ::SSL_peek_ex(ssl.get(), &byte, 1, &count);
    const bool is_waiting = result != 1 && ::SSL_get_error(ssl.get(), result) == SSL_ERROR_WANT_READ;
    ::ERR_clear_error();
    return is_waiting;
  }

  void close() noexcept {
    if (std::exchange(is_over_, true) || ::SSL_is_init_finished(ssl.get()) == 0) return;
    ::SSL_shutdown(ssl.get());
    ::ERR_clear_error();
  }

 private:
  [[nodiscard]] TlsClient::Impl& shared() const noexcept { return *client_->impl_; }
  [[nodiscard]] std::string who() const { return fmt::format("TLS: the server {}", shared().peer.name); }

  /// A server may have several names, and a certificate for each.
  bool ask_for(std::string name) {
    constexpr auto kCommand = SSL_CTRL_SET_TLSEXT_HOSTNAME;  // without OpenSSL's macro, whose cast is an old one
    return ::SSL_ctrl(ssl.get(), kCommand, TLSEXT_NAMETYPE_host_name, name.data()) == 1;
  }

  ByteView gathered(std::span<const ByteView> parts) {
    gathered_.resize(kRecordBytes);
    std::size_t size = 0;
    for (const auto part : parts) {
      const auto some = part.first(std::min(part.size(), kRecordBytes - size));
      std::ranges::copy(some, gathered_.begin() + static_cast<std::ptrdiff_t>(size));
      size += some.size();
      if (size == kRecordBytes) break;
    }
    return ByteView(gathered_).first(size);
  }

  /// Why a call did nothing: what it waits for, kDone at the server's end. Throws for all else.
  Next next_after(int result) {
    const int error = ::SSL_get_error(ssl.get(), result);
    if (error == SSL_ERROR_WANT_READ) return Next::kAwaitReadable;
    if (error == SSL_ERROR_WANT_WRITE) return Next::kAwaitWritable;
    is_over_ = true;  // and nothing more may be said
    if (error == SSL_ERROR_ZERO_RETURN) return Next::kDone;
    const auto code = ::ERR_peek_error();
    ::ERR_clear_error();
    if (refusal_) throw Error(*refusal_);
    const bool is_lost = code == 0 || ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    // With TLS 1.3 a server refuses late, and what it says of that is gone if this end has written meanwhile.
    if (is_lost && was_asked_ && !is_answered_) throw wants_certificate(who());
    if (code == 0 && wire_.error_number != 0) {
      throw unavailable(
          fmt::format("{}: the connection was lost: {}", who(), std::generic_category().message(wire_.error_number)));
    }
    if (code == 0) throw unavailable(who() + kCutOff);
    throw protocol_error(code, who());
  }

  /// Keeps what is wrong with a certificate: the first thing that is.
  void refuse(X509_STORE_CTX* chain) noexcept {
    if (refusal_) return;
    const int reason = ::X509_STORE_CTX_get_error(chain);
    const auto* const certificate = ::X509_STORE_CTX_get_current_cert(chain);
    const bool is_its_own = ::X509_STORE_CTX_get_error_depth(chain) == 0;
    const auto whose = fmt::format("{}: {}", who(), is_its_own ? "its certificate" : "that of its authority");
    const auto refused = [&](const std::string& why, const std::string& remedy) {
      refusal_.emplace(ErrorKind::kUnauthorized, whose + why, remedy);
    };
    switch (reason) {
      case X509_V_ERR_CERT_HAS_EXPIRED:
        return refused(" expired on " + text_of_time(::X509_get0_notAfter(certificate)),
                       "give the server a new certificate; check this machine's clock");
      case X509_V_ERR_CERT_NOT_YET_VALID:
        return refused(" is not valid before " + text_of_time(::X509_get0_notBefore(certificate)),
                       "check this machine's clock, and the server's certificate");
      case X509_V_ERR_HOSTNAME_MISMATCH:
      case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return refused(fmt::format(" is for {}, not for that name", names_in(certificate)),
                       "use a name that the certificate is for, or give the server a certificate for this one");
      case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
      case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
      case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
      case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      case X509_V_ERR_CERT_UNTRUSTED:
      case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        refusal_.emplace(
            ErrorKind::kUnauthorized,
            fmt::format("{}: its certificate is signed by nobody whom {} names", who(), shared().authorities.source),
            "name the file of a private authority (PEM): ca=FILE in the URI, or SSL_CERT_FILE; "
            "docs/tls.md");
        return;
      default:
        return refused(fmt::format(" is refused: {}", ::X509_verify_cert_error_string(reason)),
                       "give the server another certificate; docs/tls.md says what is asked of one");
    }
  }

  const std::shared_ptr<TlsClient> client_;
  Wire wire_;
  Bytes gathered_;
  std::optional<Error> refusal_;
  bool is_over_ = false;
  bool is_answered_ = false;
  bool was_asked_ = false;  // for a certificate

 public:
  std::unique_ptr<SSL, Freed<&::SSL_free>> ssl;  // which uses the others to its end
};

TlsStream::TlsStream(std::shared_ptr<TlsClient> client, int socket)
    : impl_(std::make_unique<Impl>(std::move(client), socket)) {}
TlsStream::~TlsStream() { impl_->close(); }
TlsStream::Next TlsStream::shake_hands() { return impl_->shake_hands(); }
TlsStream::Moved TlsStream::read(std::span<std::byte> to) { return impl_->read(to); }
TlsStream::Moved TlsStream::write(std::span<const ByteView> parts) { return impl_->write(parts); }
bool TlsStream::has_pending() const noexcept { return ::SSL_has_pending(impl_->ssl.get()) == 1; }
bool TlsStream::is_quiet() const noexcept { return impl_->is_quiet(); }
bool TlsStream::is_resumed() const noexcept { return SSL_session_reused(impl_->ssl.get()) == 1; }
void TlsStream::close() noexcept { impl_->close(); }

}  // namespace virga
