#include "virga/net/http_client.h"

#include <atomic>
#include <fstream>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/net/http_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

void echo(const HttpRequest& request, const HttpReply& reply) {
  reply.send({.status = 201, .headers = {{"X-Target", request.target}}, .body = request.body});
}

/// A client with a thread of its own.
class ClientThread {
 public:
  explicit ClientThread(const Address& server, HttpClient::Options options = {}) {
    loop_.perform([&] { client_ = std::make_unique<HttpClient>(loop_.context(), server, options); });
  }
  ~ClientThread() { stop(); }
  ClientThread(const ClientThread&) = delete;
  ClientThread& operator=(const ClientThread&) = delete;
  void stop() {
    loop_.perform([&] { client_.reset(); });
  }

  std::future<HttpClient::Outcome> send(HttpRequest request, HttpClient::Extras extras) {
    std::future<HttpClient::Outcome> outcome;
    start(std::move(request), outcome, std::move(extras));
    return outcome;
  }
  HttpClient::Ticket start(HttpRequest request, std::future<HttpClient::Outcome>& outcome,
                           HttpClient::Extras extras = {}) {
    auto promise = std::make_shared<std::promise<HttpClient::Outcome>>();
    outcome = promise->get_future();
    return client_->send(std::move(request), std::move(extras), test_deadline(), /*may_repeat=*/false,
                         [promise](HttpClient::Outcome got) { promise->set_value(std::move(got)); });
  }
  void cancel(const HttpClient::Ticket& ticket) {
    loop_.perform([&] { HttpClient::cancel(ticket); });
  }
  /// Both before the client can do anything.
  void start_and_cancel(std::future<HttpClient::Outcome>& outcome) {
    loop_.perform([&] { HttpClient::cancel(start({.target = "/given-up"}, outcome)); });
  }
  std::future<HttpClient::Outcome> send(HttpRequest request, bool may_repeat = false,
                                        Deadline deadline = test_deadline()) {
    auto promise = std::make_shared<std::promise<HttpClient::Outcome>>();
    client_->send(std::move(request), deadline, may_repeat,
                  [promise](HttpClient::Outcome outcome) { promise->set_value(std::move(outcome)); });
    return promise->get_future();
  }

 private:
  ContextThread loop_;
  std::unique_ptr<HttpClient> client_;
};

/// A server that says what the test likes, whatever it is asked.
class RawServer {
 public:
  explicit RawServer(const Address& address = {.kind = Address::Kind::kTcp, .host = "127.0.0.1"})
      : listener_(address) {}
  [[nodiscard]] const Address& address() const noexcept { return listener_.address(); }
  RawClient accept() {
    if (wait_ready(listener_.descriptor(), POLLIN, nullptr, test_deadline()) != Woken::kReady) {
      throw Error(ErrorKind::kDeadlineExceeded, "nobody connects");
    }
    return RawClient(listener_.accept());
  }
  /// So that it has room for one connection that is not accepted yet.
  void shorten_queue() const { ASSERT_EQ(::listen(listener_.descriptor(), 0), 0); }
  [[nodiscard]] bool is_called() const {
    return wait_ready(listener_.descriptor(), POLLIN, nullptr, Deadline::in(0ms)) == Woken::kReady;
  }

 private:
  Listener listener_;
};

constexpr auto kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

TEST(HttpClient, AsksAServer) {
  const ServerThread server(echo);
  ClientThread client(server.address());
  const auto outcome = client.send({.method = "POST", .target = "/a?b=c", .body = std::string(3 << 20, 'x')}).get();
  ASSERT_TRUE(outcome.response) << outcome.error->what();
  EXPECT_EQ(outcome.response->status, 201);
  EXPECT_EQ(*find_header(outcome.response->headers, "x-target"), "/a?b=c");
  EXPECT_EQ(outcome.response->body, std::string(3 << 20, 'x'));
  EXPECT_TRUE(outcome.sent);
}

TEST(HttpClient, SendsBytesOfTheCallersAndHandsOverTheAnswerAsItComes) {
  const ServerThread server(echo);
  ClientThread client(server.address());
  const std::string first(1 << 20, 'a'), second = "b";
  std::string taken;
  HttpClient::Extras extras{.body = {as_bytes(first), {}, as_bytes(second)},
                            .on_body = [&](const HttpResponse& head, std::string_view piece) {
                              EXPECT_EQ(head.status, 201);
                              taken.append(piece);
                            }};
  const auto outcome = client.send({.method = "PUT"}, std::move(extras)).get();
  ASSERT_TRUE(outcome.response) << outcome.error->what();
  EXPECT_EQ(outcome.response->status, 201);
  EXPECT_EQ(outcome.response->body, "");
  EXPECT_EQ(taken, first + second);
}

TEST(HttpClient, EndsARequestWhoseAnswerIsRefused) {
  const ServerThread server(echo);
  ClientThread client(server.address());
  const auto refuse = [](const HttpResponse&, std::string_view) { throw Error(ErrorKind::kTooLarge, "not that"); };
  const auto outcome = client.send({.method = "PUT", .body = "x"}, {.body = {}, .on_body = refuse}).get();
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->kind(), ErrorKind::kTooLarge);
  EXPECT_EQ(client.send({.method = "PUT", .body = "x"}).get().response->body, "x");
}

TEST(HttpClient, GivesUpARequestThatIsNoLongerWanted) {
  RawServer server;
  ClientThread client(server.address());
  std::future<HttpClient::Outcome> outcome;
  const auto ticket = client.start({}, outcome);
  auto peer = server.accept();
  peer.hear("\r\n\r\n");
  client.cancel(ticket);
  EXPECT_EQ(outcome.get().error->kind(), ErrorKind::kInterrupted);
  EXPECT_EQ(peer.hear(), "");
  client.cancel(ticket);
}

TEST(HttpClient, SendsNothingOfARequestThatWasGivenUpBeforeItBegan) {
  RawServer server;
  ClientThread client(server.address());
  std::future<HttpClient::Outcome> outcome;
  client.start_and_cancel(outcome);
  EXPECT_EQ(outcome.get().error->kind(), ErrorKind::kInterrupted);
  auto next = client.send({.method = "GET", .target = "/next"});
  auto peer = server.accept();
  EXPECT_THAT(peer.hear("\r\n\r\n"), StartsWith("GET /next "));
  peer.say(kOk);
  EXPECT_EQ(next.get().response->body, "ok");
  EXPECT_FALSE(server.is_called());
}

TEST(HttpClient, AsksAServerByItsNameOrOnAUnixSocket) {
  const ServerThread named(echo);
  auto address = named.address();
  address.host = "localhost";
  EXPECT_EQ(http_request(address, {.method = "PUT", .body = "text"}, test_deadline()).body, "text");

  const ServerThread local(
      echo, {}, {.kind = Address::Kind::kUnix, .path = fmt::format("/tmp/virga-http-client-{}.sock", ::getpid())});
  EXPECT_EQ(http_request(local.address(), {.method = "PUT", .body = "text"}, test_deadline()).body, "text");
}

TEST(HttpClient, SaysItOnTheWireAsItShould) {
  RawServer server;
  ClientThread client(server.address());
  auto outcome = client.send({.method = "POST", .target = "/a%20b", .headers = {{"X-A", "1"}}, .body = "text"});
  auto peer = server.accept();
  EXPECT_EQ(peer.hear("text"),
            fmt::format("POST /a%20b HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nX-A: 1\r\nContent-Length: 4\r\n\r\ntext",
                        server.address().port));
  peer.say(kOk);
  EXPECT_EQ(outcome.get().response->body, "ok");
  outcome = client.send({.headers = {{"host", "b"}}});
  EXPECT_EQ(peer.hear("\r\n\r\n"), "GET / HTTP/1.1\r\nhost: b\r\n\r\n");
  peer.say(kOk);
  EXPECT_EQ(outcome.get().response->body, "ok");
}

TEST(HttpClient, RefusesToSendWhatIsNoRequest) {
  RawServer server;
  ClientThread client(server.address());
  const HttpRequest wrong[] = {{.method = "GET /"},
                               {.target = ""},
                               {.target = "/a b"},
                               {.target = "/\r\nX: y"},
                               {.headers = {{"X: y", "z"}}},
                               {.headers = {{"X", "y\r\nZ: z"}}},
                               {.headers = {{"Content-Length", "1"}}},
                               {.headers = {{"Transfer-Encoding", "chunked"}}}};
  for (const auto& request : wrong) {
    const auto outcome = client.send(request).get();
    ASSERT_TRUE(outcome.error);
    EXPECT_EQ(outcome.error->kind(), ErrorKind::kBadData);
    EXPECT_FALSE(outcome.sent);
  }
  EXPECT_FALSE(server.is_called());
}

TEST(HttpClient, UnderstandsEveryFormOfAnswer) {
  const std::pair<std::string, std::string> answers[] = {
      {kOk, "ok"},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + std::string(kOk), "ok"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;a=b\r\nk\r\n0\r\nTrailer: x\r\n\r\n", "ok"},
      {"HTTP/1.1 204 No Content\r\n\r\n", ""},
      {"HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end"},
      {"HTTP/1.0 200 OK\r\n\r\n", ""}};
  for (const auto& [bytes, body] : answers) {
    RawServer server;
    ClientThread client(server.address());
    auto outcome = client.send({});
    auto peer = server.accept();
    peer.hear("\r\n\r\n");
    for (const char byte : bytes) peer.say({&byte, 1});
    if (bytes.find("\r\n\r\nuntil") != std::string::npos || bytes.starts_with("HTTP/1.0")) peer.close();
    const auto got = outcome.get();
    ASSERT_TRUE(got.response) << bytes << got.error->what();
    EXPECT_EQ(got.response->body, body) << bytes;
  }
}

TEST(HttpClient, RefusesWhatIsNoAnswer) {
  const std::pair<std::string, ErrorKind> answers[] = {
      {"", ErrorKind::kUnavailable},
      {"HTTP/1.1 200 OK\r\nContent-Le", ErrorKind::kUnavailable},
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", ErrorKind::kUnavailable},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", ErrorKind::kUnavailable},
      {"SSH-2.0-OpenSSH\r\n", ErrorKind::kBadData},
      {"HTTP/1.1 20 OK\r\n\r\n", ErrorKind::kBadData},
      {"HTTP/1.1 101 Switching Protocols\r\n\r\n", ErrorKind::kBadData},
      {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", ErrorKind::kBadData},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", ErrorKind::kBadData},
      {"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", ErrorKind::kTooLarge},
      {"HTTP/1.1 200 OK\r\n\r\n" + std::string(1001, 'x'), ErrorKind::kTooLarge},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n", ErrorKind::kTooLarge},
      {"HTTP/1.1 200 OK\r\nX: " + std::string(2000, 'x'), ErrorKind::kTooLarge}};
  for (const auto& [bytes, kind] : answers) {
    RawServer server;
    ClientThread client(server.address(), {.limits = {.header_bytes = 1000, .body_bytes = 1000}});
    auto outcome = client.send({});
    auto peer = server.accept();
    peer.hear("\r\n\r\n");
    peer.say(bytes);
    peer.end_sending();
    const auto got = outcome.get();
    ASSERT_TRUE(got.error) << bytes;
    EXPECT_EQ(got.error->kind(), kind) << bytes << ": " << got.error->what();
    EXPECT_THAT(got.error->what(), StartsWith(to_string(server.address()) + ": GET /"));
    EXPECT_TRUE(got.sent);
  }
}

TEST(HttpClient, TakesAnAnswerThatComesBeforeTheRequestIsRead) {
  RawServer server;
  ClientThread client(server.address());
  auto outcome = client.send({.method = "POST", .body = std::string(32 << 20, 'x')});
  auto peer = server.accept();
  peer.hear("\r\n\r\n");
  peer.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
  const auto got = outcome.get();
  ASSERT_TRUE(got.response) << got.error->what();
  EXPECT_EQ(got.response->status, 413);
}

TEST(HttpClient, UsesAConnectionAgain) {
  ServerThread server(echo);
  ClientThread client(server.address());
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(client.send({}).get().response);
  EXPECT_EQ(server.server().connections(), 1U);
  client.stop();
  EXPECT_TRUE(eventually([&] { return server.server().connections() == 0; }));
}

TEST(HttpClient, TriesAnewWhenAKeptConnectionIsClosedUnderIt) {
  RawServer server;
  ClientThread client(server.address());
  for (const bool may_repeat : {true, false}) {
    auto outcome = client.send({});
    auto peer = server.accept();
    peer.hear("\r\n\r\n");
    peer.say(kOk);
    EXPECT_TRUE(outcome.get().response);
    outcome = client.send({.target = "/next"}, may_repeat);
    peer.hear("\r\n\r\n");
    peer.close();  // after the request was sent: the server may have done what it asks for
    if (may_repeat) {
      auto next = server.accept();
      EXPECT_THAT(next.hear("\r\n\r\n"), StartsWith("GET /next "));
      next.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
      EXPECT_TRUE(outcome.get().response);
    } else {
      const auto got = outcome.get();
      ASSERT_TRUE(got.error);
      EXPECT_EQ(got.error->kind(), ErrorKind::kUnavailable);
      EXPECT_TRUE(got.sent);
    }
  }
}

TEST(HttpClient, DoesNotTryAnewOnAFreshConnection) {
  RawServer server;
  ClientThread client(server.address());
  auto outcome = client.send({}, /*may_repeat=*/true);
  auto peer = server.accept();
  peer.hear("\r\n\r\n");
  peer.close();
  EXPECT_EQ(outcome.get().error->kind(), ErrorKind::kUnavailable);
  EXPECT_FALSE(server.is_called());
}

TEST(HttpClient, LeavesAKeptConnectionThatTheServerHasClosed) {
  RawServer server;
  ClientThread client(server.address());
  auto outcome = client.send({});
  {
    auto peer = server.accept();
    peer.hear("\r\n\r\n");
    peer.say(kOk);
    EXPECT_TRUE(outcome.get().response);
  }
  outcome = client.send({}, /*may_repeat=*/false);  // safe: nothing was sent on the old one
  auto next = server.accept();
  next.hear("\r\n\r\n");
  next.say(kOk);
  EXPECT_TRUE(outcome.get().response);
}

TEST(HttpClient, GivesUpAtItsDeadline) {
  RawServer server;
  ClientThread client(server.address());
  const auto got = client.send({.target = "/slow?secret=1"}, false, Deadline::in(100ms)).get();
  ASSERT_TRUE(got.error);
  EXPECT_EQ(got.error->kind(), ErrorKind::kDeadlineExceeded);
  EXPECT_THAT(got.error->what(), AllOf(HasSubstr("GET /slow: no answer within 0."), testing::Not(HasSubstr("secret"))));
  EXPECT_TRUE(got.sent);
  auto peer = server.accept();
  peer.hear();  // the connection is closed, so that the server knows

  const auto late = client.send({}, false, Deadline::in(0ms)).get();
  EXPECT_EQ(late.error->kind(), ErrorKind::kDeadlineExceeded);
  EXPECT_FALSE(late.sent);
}

TEST(HttpClient, SaysThatNobodyListens) {
  auto server = std::make_unique<RawServer>();
  const auto address = server->address();
  server.reset();
  ClientThread client(address);
  const auto got = client.send({}, true).get();
  ASSERT_TRUE(got.error);
  EXPECT_EQ(got.error->kind(), ErrorKind::kUnavailable);
  EXPECT_THAT(got.error->what(), HasSubstr("cannot connect: Connection refused"));
  EXPECT_FALSE(got.sent);
  EXPECT_THROW(static_cast<void>(http_request(address, {}, test_deadline())), Error);
}

TEST(HttpClient, WaitsForRoomInTheQueueOfAUnixSocket) {
  const auto path = fmt::format("/tmp/virga-http-full-{}.sock", ::getpid());
  RawServer server({.kind = Address::Kind::kUnix, .path = path});
  server.shorten_queue();
  std::vector<std::future<HttpClient::Outcome>> outcomes;
  ClientThread client(server.address());
  for (int i = 0; i < 5; ++i) outcomes.push_back(client.send({}));
  for (int i = 0; i < 5; ++i) {
    auto peer = server.accept();
    peer.hear("\r\n\r\n");
    peer.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  }
  for (auto& outcome : outcomes) EXPECT_TRUE(outcome.get().response);
}

/// As many descriptors as the system allows, for the sockets of both sides.
void allow_many_descriptors() {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
}

std::uint64_t resident_bytes() {
  std::ifstream pages("/proc/self/statm");
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  pages >> total >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kIsSanitized = true;  // and uses memory of its own
#else
constexpr bool kIsSanitized = false;
#endif

TEST(HttpClient, LetsAThousandRequestsWaitAtOnceForLittleMemory) {
  allow_many_descriptors();
  constexpr std::size_t kRequests = 1000;
  std::mutex mutex;
  std::vector<std::pair<std::string, HttpReply>> waiting;
  ServerThread server([&](const HttpRequest& request, const HttpReply& reply) {
    const std::scoped_lock lock(mutex);
    waiting.emplace_back(request.target, reply);
  });
  ClientThread client(server.address());
  std::vector<std::future<HttpClient::Outcome>> outcomes;
  outcomes.reserve(kRequests);
  waiting.reserve(kRequests);
  const auto before = resident_bytes();

  for (std::size_t i = 0; i < kRequests; ++i) outcomes.push_back(client.send({.target = fmt::format("/{}", i)}));
  ASSERT_TRUE(eventually([&] {
    const std::scoped_lock lock(mutex);
    return waiting.size() == kRequests;
  }));
  EXPECT_EQ(server.server().connections(), kRequests);
  const auto memory = kIsSanitized ? 0 : resident_bytes() - before;  // of server, client and test together
  EXPECT_LT(memory, kRequests * 10'000);

  for (const auto& [target, reply] : waiting) reply.send({.body = target});
  for (std::size_t i = 0; i < kRequests; ++i) {
    const auto outcome = outcomes[i].get();
    ASSERT_TRUE(outcome.response) << outcome.error->what();
    EXPECT_EQ(outcome.response->body, fmt::format("/{}", i));
  }
  // As many as are to be kept are.
  EXPECT_TRUE(eventually([&] { return server.server().connections() == HttpClient::Options{}.most_idle; }));
}

TEST(HttpClient, IsUsedByManyThreads) {
  const ServerThread server(echo);
  ClientThread client(server.address());
  std::vector<std::thread> threads;
  std::atomic<int> answered = 0;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 50; ++i) {
        const auto body = fmt::format("{}:{}", thread, i);
        const auto outcome = client.send({.method = "POST", .body = body}).get();
        if (outcome.response && outcome.response->body == body) ++answered;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(answered, 200);
}

TEST(HttpClient, SurvivesAServerThatEndsAndOthersThatAnswerStill) {
  std::mutex mutex;
  std::vector<HttpReply> replies;
  auto server = std::make_unique<ServerThread>([&](const HttpRequest&, const HttpReply& reply) {
    const std::scoped_lock lock(mutex);
    replies.push_back(reply);
  });
  ClientThread client(server->address());
  std::vector<std::future<HttpClient::Outcome>> outcomes;
  for (int i = 0; i < 50; ++i) outcomes.push_back(client.send({}));
  ASSERT_TRUE(eventually([&] {
    const std::scoped_lock lock(mutex);
    return replies.size() == 50;
  }));
  std::thread answering([&] {
    for (const auto& reply : replies) reply.send({});
  });
  server.reset();
  answering.join();
  for (auto& outcome : outcomes) {
    const auto got = outcome.get();
    EXPECT_TRUE(got.response || got.error->kind() == ErrorKind::kUnavailable);
  }
}

TEST(HttpClient, MayBeEndedByWhatItCalls) {
  const ServerThread server(echo);
  std::promise<void> ended;
  std::atomic<int> failed = 0;
  std::unique_ptr<HttpClient> client;
  ContextThread loop;
  loop.perform([&] {
    client = std::make_unique<HttpClient>(loop.context(), server.address(), HttpClient::Options{});
    client->send({}, test_deadline(), false, [&](const HttpClient::Outcome&) {
      client.reset();
      ended.set_value();
    });
    client->send({.target = "not sendable"}, test_deadline(), false, [&](const HttpClient::Outcome& outcome) {
      if (outcome.error) ++failed;
    });
  });
  ended.get_future().wait();
  EXPECT_EQ(failed, 1);
}

TEST(HttpClient, EndsWhatIsUnderWay) {
  RawServer server;
  ClientThread client(server.address());
  auto first = client.send({});
  auto peer = server.accept();
  peer.hear("\r\n\r\n");
  auto second = client.send({});
  client.stop();
  EXPECT_EQ(first.get().error->kind(), ErrorKind::kUnavailable);
  EXPECT_EQ(second.get().error->kind(), ErrorKind::kUnavailable);
  EXPECT_EQ(peer.hear(), "");
}

}  // namespace
}  // namespace virga
