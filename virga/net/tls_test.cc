#include "virga/net/tls.h"

#include <atomic>
#include <functional>
#include <map>
#include <set>
#include <thread>

#include <gmock/gmock.h>

#include "virga/base/file.h"
#include "virga/net/client_socket.h"
#include "virga/net/endpoint.h"
#include "virga/net/http_client.h"
#include "virga/net/tls_authorities.h"
#include "virga/net/tls_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

/// Says who asked, and gives back what it got.
void give_back(const HttpRequest& request, const HttpReply& reply) {
  const auto* host = find_header(request.headers, "Host");
  reply.send({.status = 200, .headers = {{"X-Host", host == nullptr ? "" : *host}}, .body = request.body});
}

std::optional<Error> error_of_call(const std::function<void()>& call) {
  try {
    call();
    return std::nullopt;
  } catch (const Error& error) {
    return error;
  }
}

HttpResponse ask(const Address& address, std::string body = "", Deadline deadline = test_deadline()) {
  return http_request(address, {.method = "POST", .target = "/t", .headers = {}, .body = std::move(body)}, deadline);
}
std::optional<Error> error_when_asked(const Address& address, Deadline deadline = test_deadline()) {
  return error_of_call([&] { (void)ask(address, "", deadline); });
}

Environment environment_with(std::map<std::string, std::string> variables) {
  return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    const auto at = variables.find(name);
    return at == variables.end() ? std::nullopt : std::optional(at->second);
  };
}

std::string bytes_of_all_kinds(std::size_t size) {
  std::string bytes(size, ' ');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 2654435761U >> 13U);
  return bytes;
}

TEST(Tls, CarriesRequestsOfAllSizesToAServerThatProvesWhoItIs) {
  const ServerThread server(give_back);
  for (const bool old : {false, true}) {
    const TlsFront front(server.address(), {.only_tls_1_2 = old});
    for (const std::size_t size : {0UL, 1UL, 16000UL, 16384UL, 16385UL, 65536UL, 3000000UL}) {
      const auto body = bytes_of_all_kinds(size);
      const auto answer = ask(front.address(TestCertificates::shared().authority()), body);
      EXPECT_EQ(answer.status, 200);
      EXPECT_TRUE(answer.body == body) << size << " bytes";
    }
  }
}

TEST(Tls, VerifiesNamesAndNumbersOfHosts) {
  const ServerThread server(give_back);
  const TlsFront front(server.address());
  for (const auto* host : {"localhost", "127.0.0.1"}) {
    const auto address = front.address(TestCertificates::shared().authority(), host);
    EXPECT_EQ(*find_header(ask(address).headers, "X-Host"), std::string(host) + ":" + std::to_string(address.port));
  }
  auto elsewhere = front.address(TestCertificates::shared().authority());
  elsewhere.tls->name = "localhost";  // connected to by number
  EXPECT_EQ(ask(elsewhere).status, 200);
}

TEST(Tls, RefusesACertificateThatProvesNothing) {
  const ServerThread server(give_back);
  const auto authority = TestCertificates::shared().authority();
  for (const auto& [certificate, host, reason] :
       {std::tuple("expired", "127.0.0.1", "its certificate expired on "),
        {"misnamed", "127.0.0.1", "its certificate is for elsewhere.example, 192.0.2.1, not for that name"},
        {"misnamed", "localhost", "its certificate is for elsewhere.example, 192.0.2.1, not for that name"},
        {"foreign", "127.0.0.1", "its certificate is signed by nobody whom "}}) {
    const TlsFront front(server.address(), {.certificate = certificate});
    const auto error = error_when_asked(front.address(authority, host));
    ASSERT_TRUE(error) << certificate;
    EXPECT_EQ(error->kind(), ErrorKind::kUnauthorized);
    EXPECT_THAT(error->what(), AllOf(HasSubstr(std::string("TLS: the server ") + host), HasSubstr(reason)));
    EXPECT_NE(error->remedy(), "");
  }
}

TEST(Tls, RefusesWhatIsNoNameOfAHost) {
  const ServerThread plain(give_back);
  auto address = plain.address();
  for (const auto& name : {std::string(), std::string(300, 'a')}) {
    address.tls = {.name = name, .authorities = TestCertificates::shared().authority()};
    const auto error = error_when_asked(address);
    ASSERT_TRUE(error) << name;
    EXPECT_EQ(error->kind(), ErrorKind::kUsage) << error->what();
  }
}

TEST(Tls, BelievesOnlyThisSystemsAuthoritiesUnlessOthersAreNamed) {
  const ServerThread server(give_back);
  const TlsFront front(server.address());
  const auto error = error_when_asked(front.address(""));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::kUnauthorized);
  EXPECT_THAT(error->remedy(), HasSubstr("ca=FILE"));
}

/// A stream whose handshake is done.
std::unique_ptr<TlsStream> shake_hands(const std::shared_ptr<TlsClient>& client, const Descriptor& socket) {
  auto stream = std::make_unique<TlsStream>(client, socket.get());
  for (;;) {
    const auto next = stream->shake_hands();
    if (next == TlsStream::Next::kDone) return stream;
    const short events = next == TlsStream::Next::kAwaitReadable ? POLLIN : POLLOUT;
    check(wait_ready(socket.get(), events, nullptr, test_deadline()) == Woken::kReady, "a handshake goes on");
  }
}
std::string read_all(TlsStream& stream, const Descriptor& socket, std::size_t wanted) {
  std::string heard;
  while (heard.size() < wanted) {
    std::array<std::byte, 1000> piece{};
    const auto moved = stream.read(piece);
    heard += as_text(ByteView(piece).first(moved.count));
    if (moved.next != TlsStream::Next::kAwaitReadable) continue;
    check(wait_ready(socket.get(), POLLIN, nullptr, test_deadline()) == Woken::kReady, "an answer goes on");
  }
  return heard;
}

TEST(Tls, ResumesASessionOnTheNextConnection) {
  const ServerThread server(give_back);
  for (const bool old : {false, true}) {
    const TlsFront front(server.address(), {.only_tls_1_2 = old});
    const auto address = front.address(TestCertificates::shared().authority());
    const auto client = make_tls_client(address);
    for (const bool resumed : {false, true, true}) {
      const auto socket = connect_to(address, nullptr, test_deadline());
      const auto stream = shake_hands(client, socket);
      EXPECT_EQ(stream->is_resumed(), resumed) << (old ? "TLS 1.2" : "TLS 1.3");
      const auto request = as_bytes("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      ASSERT_EQ(stream->write(std::span(&request, 1)).count, request.size());
      EXPECT_THAT(read_all(*stream, socket, 15), HasSubstr("HTTP/1.1 200 OK"));
    }
  }
}

TEST(Tls, EndsWithTheAddressThatSpeaksNone) {
  const ServerThread plain(give_back);
  auto address = plain.address();
  address.tls = {.name = address.host, .authorities = TestCertificates::shared().authority()};
  const auto error = error_when_asked(address);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::kBadData) << error->what();
  EXPECT_THAT(error->what(), HasSubstr("127.0.0.1 speaks no TLS at this port"));
}

TEST(Tls, IsNamedWhereAServerSpeaksItUnasked) {
  const ServerThread server(give_back);
  const TlsFront front(server.address());
  const auto error = error_when_asked(front.address());
  ASSERT_TRUE(error);
  // What speaks TLS may refuse with an alert or without a word.
  if (error->kind() == ErrorKind::kBadData) {
    EXPECT_THAT(error->remedy(), HasSubstr("https://"));
  } else {
    EXPECT_EQ(error->kind(), ErrorKind::kUnavailable) << error->what();
  }
}

/// Takes one connection, reads `wanted` bytes, says `answer`, and closes it.
class RudeServer {
 public:
  RudeServer(std::size_t wanted, std::string answer)
      : listener_(parse_address("tcp:127.0.0.1:0")), thread_([this, wanted, answer = std::move(answer)] {
          if (wait_ready(listener_.descriptor(), POLLIN, nullptr, test_deadline()) != Woken::kReady) return;
          const auto socket = listener_.accept();
          std::array<char, 256> heard{};
          for (std::size_t count = 0; count < wanted;) {
            if (wait_ready(socket.get(), POLLIN, nullptr, test_deadline()) != Woken::kReady) return;
            const auto got = ::recv(socket.get(), heard.data(), heard.size(), 0);
            if (got <= 0) return;
            count += static_cast<std::size_t>(got);
          }
          static_cast<void>(::send(socket.get(), answer.data(), answer.size(), MSG_NOSIGNAL));
        }) {}
  ~RudeServer() { thread_.join(); }
  RudeServer(const RudeServer&) = delete;
  RudeServer& operator=(const RudeServer&) = delete;
  [[nodiscard]] Address address() const {
    auto address = listener_.address();
    address.tls = {.name = address.host, .authorities = TestCertificates::shared().authority()};
    return address;
  }

 private:
  Listener listener_;
  std::thread thread_;
};

TEST(Tls, SaysThatAHandshakeWasCutOff) {
  const RudeServer server(/*wanted=*/100, "");
  const auto error = error_when_asked(server.address());
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::kUnavailable) << error->what();
  EXPECT_THAT(error->what(), HasSubstr("127.0.0.1"));
}

TEST(Tls, NamesTheAlertThatTheServerGivesForAnAnswer) {
  for (const auto& [alert, kind, reason] :
       {std::tuple(std::string("\x15\x03\x03\x00\x02\x02\x46", 7), ErrorKind::kUnsupported, "neither TLS 1.2 nor"),
        {std::string("\x15\x03\x03\x00\x02\x02\x28", 7), ErrorKind::kUnsupported, "no way to speak TLS"},
        {std::string("\x15\x03\x03\x00\x02\x02\x50", 7), ErrorKind::kBadData, "TLS failed: "}}) {
    const RudeServer server(/*wanted=*/100, alert);
    const auto error = error_when_asked(server.address());
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind(), kind) << error->what();
    EXPECT_THAT(error->what(), HasSubstr(reason));
    EXPECT_NE(error->remedy(), "");
  }
}

TEST(Tls, WaitsForAHandshakeNoLongerThanForAConnection) {
  const Listener silent(parse_address("tcp:127.0.0.1:0"));  // the system connects, and nobody answers
  auto address = silent.address();
  address.tls = {.name = address.host, .authorities = TestCertificates::shared().authority()};
  const auto late = error_when_asked(address, Deadline::in(100ms));
  ASSERT_TRUE(late);
  EXPECT_EQ(late->kind(), ErrorKind::kDeadlineExceeded);
  EXPECT_THAT(late->what(), HasSubstr("no end of the handshake"));

  boost::asio::io_context context(1);
  HttpClient client(context, address, {.connect_time = 100ms});
  std::optional<Error> error;
  client.send({}, test_deadline(), false, [&](HttpClient::Outcome outcome) { error = std::move(outcome.error); });
  while (!error) context.run_one();
  EXPECT_EQ(error->kind(), ErrorKind::kUnavailable);
  EXPECT_THAT(error->what(), HasSubstr("no end of the handshake within 0.100 s"));

  ClientSocket socket("a store", "");
  const ClientSocket::Turn turn(socket, {Deadline::in(50ms)});
  const auto same = error_of_call([&] { socket.connect(address, make_tls_client(address)); });
  ASSERT_TRUE(same);
  EXPECT_EQ(same->kind(), ErrorKind::kDeadlineExceeded);
  EXPECT_THAT(same->what(), HasSubstr("a store: TLS: no end of the handshake"));
}

/// Says `text`, whatever it is asked, and closes the connection.
Address plain_server_of(std::string text, std::optional<std::thread>& thread, Listener& listener) {
  thread.emplace([&listener, text = std::move(text)] {
    while (wait_ready(listener.descriptor(), POLLIN, nullptr, test_deadline()) == Woken::kReady) {
      RawClient client(listener.accept());
      if (client.hear("\r\n\r\n").empty()) return;
      client.say(text);
    }
  });
  return listener.address();
}

TEST(Tls, TakesNoBodyThatWasCutOffForAWholeOne) {
  const std::string head = "HTTP/1.1 200 OK\r\n", counted = "Content-Length: 10\r\n\r\n0123456789";
  const std::string open = "Connection: close\r\n\r\n0123456789";
  for (const auto& [text, cut_after, is_whole] : {std::tuple(head + counted, std::size_t{0}, true),
                                                  {head + counted, head.size() + counted.size() - 3, false},
                                                  {head + counted, head.size() + counted.size(), true},
                                                  {head + open, std::size_t{0}, true},
                                                  {head + open, head.size() + open.size() - 3, false},
                                                  {head + open, head.size() + open.size(), false}}) {
    Listener listener(parse_address("tcp:127.0.0.1:0"));
    std::optional<std::thread> thread;
    const auto plain = plain_server_of(text, thread, listener);
    {
      const TlsFront front(plain, {.cut_after = cut_after});
      const auto address = front.address(TestCertificates::shared().authority());
      if (is_whole) {
        EXPECT_EQ(ask(address).body, "0123456789") << cut_after;
      } else {
        const auto error = error_when_asked(address);
        ASSERT_TRUE(error) << cut_after;
        EXPECT_EQ(error->kind(), ErrorKind::kUnavailable);
        EXPECT_THAT(error->what(), HasSubstr("without the end that TLS has")) << cut_after;
      }
    }
    RawClient(plain).close();  // which ends the server
    thread->join();
  }
}

TEST(Tls, KeepsConnectionsForManyRequests) {
  ServerThread server(give_back);
  const TlsFront front(server.address());
  boost::asio::io_context context(1);
  HttpClient client(context, front.address(TestCertificates::shared().authority()), {});
  const auto body = bytes_of_all_kinds(200000);
  for (int round = 0; round < 3; ++round) {
    int open = 20, right = 0;
    for (int i = 0; i < 20; ++i) {
      client.send({.method = "POST", .target = "/", .headers = {}, .body = body}, test_deadline(), false,
                  [&](HttpClient::Outcome outcome) {
                    --open;
                    if (outcome.response && outcome.response->body == body) ++right;
                  });
    }
    while (open > 0) context.run_one();
    EXPECT_EQ(right, 20);
  }
  std::size_t connections = 0;
  server.loop().perform([&] { connections = server.server().connections(); });
  EXPECT_EQ(connections, 20U) << "they stay open";
}

TEST(Tls, SurvivesAServerThatIsGone) {
  const ServerThread server(give_back);
  TlsFront front(server.address());
  const auto address = front.address(TestCertificates::shared().authority());
  ClientSocket socket("a store", "see whether it runs");
  const ClientSocket::Turn turn(socket, {test_deadline()});
  socket.connect(address, make_tls_client(address));
  EXPECT_FALSE(socket.is_stale());
  front.kill();
  const std::string bytes(1 << 20, 'x');
  const auto part = as_bytes(bytes);
  const auto error = error_of_call([&] {  // without a signal, whoever is told of the end first
    for (int i = 0; i < 100; ++i) socket.send(std::span(&part, 1));
  });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::kUnavailable) << error->what();
  EXPECT_TRUE(socket.is_stale());
}

TEST(TlsAuthorities, AreReadFromWhereTheyAreNamed) {
  const auto& certificates = TestCertificates::shared();
  EXPECT_EQ(find_authorities(certificates.authority(), environment_with({})).source, certificates.authority());
  const auto named = environment_with({{"SSL_CERT_FILE", certificates.authority()}});
  EXPECT_EQ(find_authorities("", named).source, certificates.authority());
  EXPECT_EQ(find_authorities(certificates.file("other.pem"), named).source, certificates.file("other.pem"));
  EXPECT_EQ(find_authorities("", environment_with({{"SSL_CERT_DIR", "/etc/ssl/certs"}})).source, "/etc/ssl/certs");
  const auto first = find_authorities(certificates.authority(), environment_with({}));
  EXPECT_EQ(first.store, find_authorities("", named).store) << "what is there is not read again";
}

TEST(TlsAuthorities, AreRefusedWhereThereAreNone) {
  const auto& certificates = TestCertificates::shared();
  const auto damaged = certificates.file("damaged.pem");
  auto bytes = read_file(certificates.authority());
  bytes.resize(bytes.size() - 60);
  write_file_atomically(damaged, bytes);
  for (const auto& [file, kind] : {std::pair(certificates.file("absent.pem"), ErrorKind::kNotFound),
                                   {certificates.file("good.key"), ErrorKind::kBadData},
                                   {damaged, ErrorKind::kBadData}}) {
    const auto error = error_of_call([&, name = file] { (void)find_authorities(name, environment_with({})); });
    ASSERT_TRUE(error) << file;
    EXPECT_EQ(error->kind(), kind) << error->what();
    EXPECT_THAT(error->what(), HasSubstr(file));
  }
}

TEST(Endpoint, IsReachedByTlsForHttps) {
  const auto usual = parse_endpoint("https://s3.us-east-1.amazonaws.com/");
  EXPECT_EQ(usual.address.port, 443);
  EXPECT_EQ(usual.host, "s3.us-east-1.amazonaws.com");
  EXPECT_EQ(usual.address.tls, (TlsPeer{.name = "s3.us-east-1.amazonaws.com", .authorities = ""}));
  EXPECT_EQ(host_header(usual.address), usual.host);
  const auto other = parse_endpoint("https://[::1]:9000", "/ca.pem");
  EXPECT_EQ(other.host, "[::1]:9000");
  EXPECT_EQ(other.address.tls, (TlsPeer{.name = "::1", .authorities = "/ca.pem"}));
  EXPECT_EQ(parse_endpoint("https://a:443").host, "a");
  EXPECT_EQ(parse_endpoint("http://a:443").host, "a:443");
  EXPECT_FALSE(parse_endpoint("http://a:443").address.tls);

  auto moved = other.address;
  apply_tls({.ca = "/other.pem", .via = "10.0.0.1"}, moved);
  EXPECT_EQ(moved.host, "10.0.0.1");
  EXPECT_EQ(host_header(moved), "[::1]:9000");
  EXPECT_EQ(tls_parameters_of(moved, '?'), "?ca=/other.pem&via=10.0.0.1");
  EXPECT_EQ(tls_parameters_of(usual.address, '?'), "");
  auto plain = parse_address("tcp:a:1");
  EXPECT_EQ(error_of_call([&] { apply_tls({.ca = "/other.pem", .via = ""}, plain); })->kind(), ErrorKind::kUsage);
  EXPECT_EQ(error_of_call([&] { apply_tls({.ca = "other.pem", .via = ""}, moved); })->kind(), ErrorKind::kUsage);
}

}  // namespace
}  // namespace virga
