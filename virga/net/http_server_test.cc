#include "virga/net/http_server.h"

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <vector>

#include <netinet/in.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "virga/net/http_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

/// Says what it was asked, at once.
void echo(const HttpRequest& request, const HttpReply& reply) {
  reply.send({.headers = {{"X-Seen", fmt::format("{} {}", request.method, request.target)}}, .body = request.body});
}

/// Keeps the requests, to be answered when the test likes.
class Kept {
 public:
  HttpServer::Handler handler() {
    return [this](const HttpRequest& request, const HttpReply& reply) {
      reply.on_gone([this] { ++gone_; });
      const std::scoped_lock lock(mutex_);
      requests_.push_back(request);
      replies_.push_back(reply);
    };
  }
  [[nodiscard]] std::size_t count() const {
    const std::scoped_lock lock(mutex_);
    return replies_.size();
  }
  [[nodiscard]] HttpReply reply(std::size_t index) const {
    const std::scoped_lock lock(mutex_);
    return replies_.at(index);
  }
  [[nodiscard]] int gone() const { return gone_; }
  void forget() {
    const std::scoped_lock lock(mutex_);
    replies_.clear();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<HttpRequest> requests_;
  std::vector<HttpReply> replies_;
  std::atomic<int> gone_ = 0;
};

/// What curl prints, with what `source` prints as its standard input.
std::string run_curl(const std::string& arguments, const std::string& source = "true") {
  return run_shell(source + " | curl --silent --show-error --max-time 20 " + arguments);
}

std::string url(const ServerThread& server) { return fmt::format("http://127.0.0.1:{}", server.address().port); }

TEST(HttpServer, AnswersCurl) {
  const ServerThread server(echo);
  EXPECT_THAT(run_curl("-i -d hello '" + url(server) + "/a/b?c=d'"),
              AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("X-Seen: POST /a/b?c=d\r\n"),
                    HasSubstr("Content-Length: 5\r\n"), EndsWith("\r\n\r\nhello")));
  EXPECT_THAT(run_curl("-I " + url(server)), AllOf(HasSubstr("HEAD /"), HasSubstr("Content-Length: 0\r\n")));
  EXPECT_THAT(run_curl("-H 'Transfer-Encoding: chunked' -d chunks " + url(server)), "chunks");
  EXPECT_THAT(run_curl("--http1.0 -d old " + url(server)), "old");
}

TEST(HttpServer, TellsCurlToGoOnWithALargeBody) {
  const ServerThread server(echo);
  // curl waits for the interim answer longer than for everything.
  EXPECT_EQ(run_curl("--expect100-timeout 60 -H 'Expect: 100-continue' --data-binary @- -o /dev/null "
                     "-w '%{http_code} %{size_download}' " +
                         url(server),
                     "head -c 3000000 /dev/zero"),
            "200 3000000");
}

TEST(HttpServer, KeepsAConnectionForTheNextRequest) {
  ServerThread server(echo);
  RawClient client(server.address());
  for (int i = 0; i < 3; ++i) {
    client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_THAT(client.hear("\r\n\r\n"), HasSubstr("200 OK"));
  }
  EXPECT_EQ(server.server().connections(), 1U);
}

TEST(HttpServer, AnswersPipelinedRequestsInTheirOrder) {
  Kept kept;
  const ServerThread server(kept.handler());
  RawClient client(server.address());
  client.say(
      "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nonePOST /2 HTTP/1.1\r\nHost: a\r\n"
      "Content-Length: 3\r\n\r\ntwoGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  for (std::size_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(eventually([&] { return kept.count() == i + 1; }));
    kept.reply(i).send({.body = fmt::format("answer {}.", i)});
    const auto answer = fmt::format("answer {}.", i);
    EXPECT_THAT(client.hear(answer), EndsWith(answer));
  }
  EXPECT_EQ(client.hear(), "");  // closed, as the last request has asked
}

TEST(HttpServer, AnswersMuchLaterAndFromAnotherThread) {
  Kept kept;
  const ServerThread server(kept.handler(), {.receive_time = 20ms, .send_time = 20ms});
  RawClient client(server.address());
  client.say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return kept.count() == 1; }));
  // What a request may take to arrive, or an answer to be taken, is over.
  RawClient slow(server.address());
  slow.say("GET");
  EXPECT_THAT(slow.hear(), StartsWith("HTTP/1.1 408 "));
  kept.reply(0).send({.body = "late"});
  kept.reply(0).send({.body = "later"});
  EXPECT_THAT(client.hear(), AllOf(EndsWith("late"), Not(HasSubstr("later"))));
}

TEST(HttpServer, SaysWhenTheClientHangsUp) {
  Kept kept;
  ServerThread server(kept.handler());
  RawClient client(server.address());
  client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return kept.count() == 1; }));
  EXPECT_FALSE(kept.reply(0).gone());
  client.close();
  ASSERT_TRUE(eventually([&] { return kept.gone() == 1 && server.server().connections() == 0; }));
  EXPECT_TRUE(kept.reply(0).gone());
  kept.reply(0).send({});  // does nothing

  std::atomic<bool> told = false;
  kept.reply(0).on_gone([&] { told = true; });
  EXPECT_TRUE(eventually([&] { return told.load(); }));
}

TEST(HttpServer, SaysNothingOfAClientThatHangsUpAfterItsAnswer) {
  Kept kept;
  ServerThread server(kept.handler());
  RawClient client(server.address());
  client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return kept.count() == 1; }));
  kept.reply(0).send({.body = "answer"});
  EXPECT_THAT(client.hear("answer"), HasSubstr("200 OK"));
  client.close();
  ASSERT_TRUE(eventually([&] { return server.server().connections() == 0; }));
  EXPECT_EQ(kept.gone(), 0);
}

TEST(HttpServer, TellsWhoseRequestWasDropped) {
  Kept kept;
  const ServerThread server(kept.handler());
  RawClient client(server.address());
  client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return kept.count() == 1; }));
  kept.forget();
  EXPECT_THAT(client.hear("without an answer"), HasSubstr("500 Internal Server Error"));
}

TEST(HttpServer, AnswersWhatItsHandlerThrows) {
  const ServerThread server([](const HttpRequest&, const HttpReply&) { throw std::runtime_error("no such luck"); });
  RawClient client(server.address());
  client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(client.hear("no such luck"), HasSubstr("500 Internal Server Error"));
}

TEST(HttpServer, LetsNoHeaderOutOfItsLine) {
  const ServerThread server([](const HttpRequest&, const HttpReply& reply) {
    reply.send({.headers = {{"X-A", "b\r\nX-C: d"}, {"X-E\r\nX-F", "g"}, {"Content-Length", "77"}}, .body = "end"});
  });
  RawClient client(server.address());
  client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(client.hear("end"), AllOf(HasSubstr("X-A: b  X-C: d\r\n"), Not(HasSubstr("X-F")),
                                        HasSubstr("Content-Length: 3\r\n"), Not(HasSubstr("77"))));
}

TEST(HttpServer, RefusesWhatIsNoRequest) {
  const ServerThread server(echo, {.limits = {.header_bytes = 1000, .body_bytes = 2000}});
  const std::pair<std::string, int> refused[] = {
      {"\x16\x03\x01\x02", 400},  // TLS
      {"GET /\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\n\r\n", 505},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
      {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", 417},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2001\r\n\r\n", 413},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7d1\r\n", 413},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(3000, 'x'), 431},
      {"GET /" + std::string(2000, 'x'), 431},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(2000, 'x'), 431}};
  for (const auto& [bytes, status] : refused) {
    RawClient client(server.address());
    client.say(bytes);
    EXPECT_THAT(client.hear(),
                AllOf(StartsWith(fmt::format("HTTP/1.1 {} ", status)), HasSubstr("Connection: close\r\n")))
        << bytes.substr(0, 100);
  }
}

TEST(HttpServer, CountsAHeaderThatComesInPieces) {
  const ServerThread server(echo, {.limits = {.header_bytes = 2000}});
  RawClient client(server.address());
  client.say("GET / HTTP/1.1\r\nHost: a\r\n");
  for (int i = 0; i < 1000 && wait_ready(client.descriptor(), POLLIN, nullptr, Deadline::in(0ms)) != Woken::kReady;
       ++i) {
    client.say("X-Next: one\r\n");
  }
  EXPECT_THAT(client.hear(), StartsWith("HTTP/1.1 431 "));
}

TEST(HttpServer, LetsAClientThatSendsTooMuchReadWhy) {
  const ServerThread server(echo, {.limits = {.body_bytes = 1000}});
  RawClient client(server.address());
  client.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n");
  client.say(std::string(8'000'000, 'x'));
  EXPECT_THAT(client.hear(), StartsWith("HTTP/1.1 413 "));
}

TEST(HttpServer, ClosesAConnectionThatSendsSlowly) {
  ServerThread server(echo, {.receive_time = 50ms});
  RawClient client(server.address());
  client.say("GET / HTTP/1.1\r\nHo");
  EXPECT_THAT(client.hear(), StartsWith("HTTP/1.1 408 "));
  RawClient body(server.address());
  body.say("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n12345678");
  EXPECT_THAT(body.hear(), StartsWith("HTTP/1.1 408 "));
  client.close();
  body.close();
  EXPECT_TRUE(eventually([&] { return server.server().connections() == 0; }));
}

TEST(HttpServer, ClosesAConnectionThatIsIdle) {
  const ServerThread server(echo, {.idle_time = 50ms});
  RawClient client(server.address());
  EXPECT_EQ(client.hear(), "");
}

TEST(HttpServer, ClosesAConnectionThatDoesNotTakeItsAnswer) {
  std::atomic<bool> is_answered = false;
  ServerThread server(
      [&](const HttpRequest&, const HttpReply& reply) {
        reply.send({.body = std::string(64 << 20, 'x')});
        is_answered = true;
      },
      {.send_time = 50ms});
  RawClient client(server.address());
  client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(eventually([&] { return is_answered && server.server().connections() == 0; }));
}

TEST(HttpServer, ForgetsAClientThatLeavesInTheMiddle) {
  ServerThread server(echo);
  RawClient idle(server.address());
  RawClient client(server.address());
  client.say("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1234");
  client.end_sending();
  EXPECT_EQ(client.hear(), "");
  EXPECT_TRUE(eventually([&] { return server.server().connections() == 1; }));
}

TEST(HttpServer, ReadsAheadNoMoreThanALittle) {
  Kept kept;
  ServerThread server(kept.handler());
  RawClient client(server.address());
  client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return kept.count() == 1; }));
  const std::string more(1 << 16, 'x');
  bool is_full = false;
  for (int i = 0; i < 10'000 && !is_full; ++i) {
    is_full = wait_ready(client.descriptor(), POLLOUT, nullptr, Deadline::in(200ms)) == Woken::kDeadline;
    if (!is_full) static_cast<void>(::send(client.descriptor(), more.data(), more.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
  }
  EXPECT_TRUE(is_full);
  kept.reply(0).send({.body = "answer"});
  EXPECT_THAT(client.hear(), AllOf(HasSubstr("answer"), HasSubstr("HTTP/1.1 4")));
}

TEST(HttpServer, MakesFurtherClientsWait) {
  ServerThread server(echo, {.most_connections = 2});
  RawClient first(server.address());
  RawClient second(server.address());
  ASSERT_TRUE(eventually([&] { return server.server().connections() == 2; }));
  RawClient third(server.address());
  third.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  second.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(second.hear("\r\n\r\n"), HasSubstr("200 OK"));
  EXPECT_EQ(server.server().connections(), 2U);
  EXPECT_EQ(wait_ready(third.descriptor(), POLLIN, nullptr, Deadline::in(0ms)), Woken::kDeadline);
  first.close();
  EXPECT_THAT(third.hear("\r\n\r\n"), HasSubstr("200 OK"));
}

TEST(HttpServer, ServesAUnixSocketToo) {
  const auto path = fmt::format("/tmp/virga-http-{}.sock", ::getpid());
  const ServerThread server(echo, {}, {.kind = Address::Kind::kUnix, .path = path});
  EXPECT_THAT(run_curl("-d text --unix-socket " + path + " http://localhost/"), "text");
}

TEST(HttpServer, EndsWithRequestsWaiting) {
  Kept kept;
  auto server = std::make_unique<ServerThread>(kept.handler());
  RawClient client(server->address());
  client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return kept.count() == 1; }));
  server->stop();
  EXPECT_EQ(client.hear(), "");
  kept.reply(0).send({.body = "nobody hears this"});
  server.reset();
  kept.reply(0).send({.body = "nor this"});
  kept.reply(0).on_gone([] { FAIL(); });
  EXPECT_TRUE(kept.reply(0).gone());
  EXPECT_EQ(kept.gone(), 0);
}

TEST(HttpServer, MayBeEndedByItsHandlerOrByAClientThatLeaves) {
  for (const bool by_handler : {true, false}) {
    const Listener listener({.kind = Address::Kind::kTcp, .host = "127.0.0.1"});
    std::promise<void> asked;
    std::promise<void> ended;
    std::unique_ptr<HttpServer> server;
    ContextThread loop;
    const auto end = [&] {
      server.reset();
      ended.set_value();
    };
    loop.perform([&] {
      server = std::make_unique<HttpServer>(loop.context(), duplicate(listener.descriptor()), HttpServer::Options{},
                                            [&](const HttpRequest&, const HttpReply& reply) {
                                              if (by_handler) return end();
                                              reply.on_gone([&end, reply] { end(); });
                                              asked.set_value();
                                            });
    });
    RawClient other(listener.address());
    RawClient client(listener.address());
    client.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    if (!by_handler) {
      asked.get_future().wait();
      client.close();
    }
    ended.get_future().wait();
    EXPECT_EQ(by_handler ? client.hear() : "", "");
  }
}

TEST(HttpServer, SurvivesALackOfFileDescriptors) {
  ServerThread server(echo);
  std::vector<RawClient> clients;
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const auto before = limit;
  clients.emplace_back(server.address());
  ASSERT_TRUE(eventually([&] { return server.server().connections() == 1; }));
  RawClient late(Descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  // The next descriptor of the process would be beyond the limit.
  limit.rlim_cur = static_cast<rlim_t>(duplicate(late.descriptor()).get());
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(server.address().port);
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(late.descriptor(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0);
  late.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  clients[0].say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(clients[0].hear("\r\n\r\n"), HasSubstr("200 OK"));  // who is there is served
  EXPECT_EQ(server.server().connections(), 1U);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(late.hear("\r\n\r\n"), HasSubstr("200 OK"));
}

}  // namespace
}  // namespace virga
