#include "virga/channel/direct_channel.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/channel/direct_link.h"
#include "virga/channel/memory_register.h"
#include "virga/net/socket.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

std::string hex_of(ByteView bytes) {
  std::string text;
  for (const auto byte : bytes) text += fmt::format("{:02x}", std::to_integer<int>(byte));
  return text;
}

constexpr MessageKey kAnyKey{.view = 1, .group = 2, .source = 3, .round = 4, .phase = 5, .destination = 6, .part = 7};
const DirectHead kAnyHead{.kind = DirectKind::kMessage, .body_bytes = 258, .taken = 9, .key = kAnyKey};

TEST(DirectProtocol, HasTheseBytes) {
  EXPECT_EQ(hex_of(encode_direct_head(kAnyHead)),
            "04000000"
            "02010000"
            "0900000000000000"
            "01000000020000000300000004000000000000000500"
            "0600000007000000"
            "0000");
  EXPECT_EQ(hex_of(encode_direct_hello({.from = {2, 3}, .to = {1, 5}, .token = "ab", .job = "j"})),
            "56524744"
            "0100"
            "0200000003000000"
            "0100000005000000"
            "02006162"
            "01006a");
  EXPECT_EQ(hex_of(encode_direct_refusal({.kind = ErrorKind::kTooLarge, .what = "w", .remedy = "r"})),
            "02"
            "010077"
            "010072");
}

TEST(DirectProtocol, ReadsWhatItHasWritten) {
  EXPECT_EQ(parse_direct_head(encode_direct_head(kAnyHead)), kAnyHead);
  const DirectHello hello{.from = {2, 3}, .to = {1, 5}, .token = "ab", .job = "j"};
  EXPECT_EQ(parse_direct_hello(encode_direct_hello(hello)), hello);
  for (const auto kind : {ErrorKind::kInternal, ErrorKind::kConflict, ErrorKind::kTooLarge, ErrorKind::kUnauthorized,
                          ErrorKind::kCorrupt, ErrorKind::kThrottled, ErrorKind::kUnsupported}) {
    const DirectRefusal refusal{.kind = kind, .what = "what", .remedy = ""};
    EXPECT_EQ(parse_direct_refusal(encode_direct_refusal(refusal)), refusal);
  }
}

TEST(DirectProtocol, RefusesWhatItsFormatDoesNotAllow) {
  const auto kind_of = [](const auto& parse) {
    try {
      parse();
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  for (const std::size_t at : {1U, 2U, 3U, 46U, 47U}) {  // bytes that are 0
    auto bytes = encode_direct_head(kAnyHead);
    bytes[at] = std::byte{1};
    EXPECT_EQ(kind_of([&] { (void)parse_direct_head(bytes); }), ErrorKind::kCorrupt) << at;
  }
  for (const int kind : {0, 12, 255}) {
    auto bytes = encode_direct_head(kAnyHead);
    bytes[0] = static_cast<std::byte>(kind);
    EXPECT_EQ(kind_of([&] { (void)parse_direct_head(bytes); }), ErrorKind::kCorrupt) << kind;
  }
  auto head = kAnyHead;
  head.body_bytes = kDirectMaxMessageBytes + 1;
  EXPECT_EQ(kind_of([&] { (void)parse_direct_head(encode_direct_head(head)); }), ErrorKind::kCorrupt);
  head = {.kind = DirectKind::kPing, .body_bytes = 1};
  EXPECT_EQ(kind_of([&] { (void)parse_direct_head(encode_direct_head(head)); }), ErrorKind::kCorrupt);
  auto hello = encode_direct_hello({.from = {}, .to = {}, .token = "ab", .job = "j"});
  hello.push_back(std::byte{0});
  EXPECT_EQ(kind_of([&] { (void)parse_direct_hello(hello); }), ErrorKind::kCorrupt);
  hello[4] = std::byte{2};
  EXPECT_EQ(kind_of([&] { (void)parse_direct_hello(hello); }), ErrorKind::kUnsupported);
}

TEST(DirectUri, NamesAHostOrNone) {
  EXPECT_TRUE(is_direct_uri("direct"));
  EXPECT_FALSE(is_direct_uri("directory:/tmp"));
  EXPECT_EQ(direct_host("direct"), "127.0.0.1");
  EXPECT_EQ(direct_host("direct:10.0.0.7"), "10.0.0.7");
  EXPECT_EQ(direct_host("direct:[::1]"), "[::1]");
  for (const auto* uri : {"direct:", "direct:0.0.0.0", "direct:[::]"}) {
    EXPECT_THROW((void)direct_host(uri), Error) << uri;
  }
}

constexpr Member kWorker0{0, 1};
constexpr Member kWorker1{1, 1};

/// Two workers, each with a channel once it is made.
class DirectChannelTest : public testing::Test {
 protected:
  [[nodiscard]] DirectChannel::Options options_of(const Member& me) const {
    return {.token = "secret", .job = "job", .me = me, .find_view = [this](std::uint32_t, const Wait&) {
              return DirectView{.members = {kWorker0, kWorker1}, .over_before = over_before_};
            }};
  }
  [[nodiscard]] std::unique_ptr<DirectChannel> channel_of(const Member& me) {
    return std::make_unique<DirectChannel>(registers_, options_of(me));
  }
  static Wait soon() { return {Deadline::in(20s)}; }
  static MessageKey key_to(const Member& to, std::uint64_t round = 0) {
    return {.view = 1, .source = 1 - to.worker, .round = round, .destination = to.worker};
  }
  static void put(Channel& channel, const MessageKey& key, std::string_view text) {
    const auto bytes = as_bytes(text);
    const Outgoing message{key, {&bytes, 1}};
    channel.put({&message, 1}, soon());
  }
  static std::string get(Channel& channel, const MessageKey& key) {
    std::string text;
    channel.get(
        {&key, 1}, [&](const MessageKey&, const SharedBytes& bytes) { text = as_text(bytes.view()); }, soon());
    return text;
  }
  static std::optional<Error> error_of(const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "nothing was thrown";
    return std::nullopt;
  }

  MemoryRegister registers_;
  std::uint32_t over_before_ = 0;
};

/// What is larger is sent from where it lies.
const std::string kLarge(5'000'000, 'x');

TEST_F(DirectChannelTest, KeepsWhatIsPutBeforeItsReaderIsThere) {
  const auto first = channel_of(kWorker0);
  put(*first, key_to(kWorker1, 1), "early");
  put(*first, key_to(kWorker1, 2), kLarge);
  const auto second = channel_of(kWorker1);
  EXPECT_EQ(get(*second, key_to(kWorker1, 1)), "early");
  EXPECT_EQ(get(*second, key_to(kWorker1, 2)), kLarge);
  second->retire(1, 0, 0, 2, soon());
  EXPECT_EQ(second->contents(soon()), ChannelContents());
}

TEST_F(DirectChannelTest, LeavesOnceItsMessagesAreTaken) {
  std::jthread leaving([&] {
    const auto first = channel_of(kWorker0);
    put(*first, key_to(kWorker1, 1), "last words");
    put(*first, key_to(kWorker1, 2), kLarge);
    first->leave(soon());
  });
  const auto second = channel_of(kWorker1);
  put(*second, key_to(kWorker0), "nobody gets this");  // finds the first one, and is told all
  leaving.join();
  EXPECT_EQ(get(*second, key_to(kWorker1, 2)), kLarge);
  EXPECT_EQ(get(*second, key_to(kWorker1, 1)), "last words");
}

TEST_F(DirectChannelTest, NamesWhoIsMissingAndWhy) {
  const auto second = channel_of(kWorker1);
  const auto key = key_to(kWorker1);
  const auto error = error_of([&] { second->get({&key, 1}, [](auto&, auto&) {}, {Deadline::in(50ms)}); });
  EXPECT_EQ(error->kind(), ErrorKind::kDeadlineExceeded);
  EXPECT_THAT(error->what(), HasSubstr("worker 0 (generation 1) is not connected: it has not said where it listens"));
}

TEST_F(DirectChannelTest, RefusesWhoDoesNotKnowTheToken) {
  const auto first = channel_of(kWorker0);
  put(*first, key_to(kWorker1), "m");
  auto options = options_of(kWorker1);
  options.token = "secreT";
  DirectChannel stranger(registers_, options);
  const auto error = error_of([&] { (void)get(stranger, key_to(kWorker1)); });
  EXPECT_EQ(error->kind(), ErrorKind::kUnauthorized);
  EXPECT_THAT(error->what(), HasSubstr("worker 1 (generation 1) does not know the token"));
}

TEST_F(DirectChannelTest, HoldsMessagesToALimitOfMemory) {
  auto options = options_of(kWorker0);
  options.memory_bytes = 1 << 20;
  DirectChannel first(registers_, options);
  const auto second = channel_of(kWorker1);
  const std::string half(500'000, 'h');
  put(first, key_to(kWorker1, 1), half);  // some of which is copied
  EXPECT_EQ(get(*second, key_to(kWorker1, 1)), half);
  put(*second, key_to(kWorker0, 1), half);
  EXPECT_EQ(get(first, key_to(kWorker0, 1)), half);
  put(*second, key_to(kWorker0, 2), half);
  EXPECT_EQ(get(first, key_to(kWorker0, 2)), half);
  const auto refused = error_of([&] { put(*second, key_to(kWorker0, 3), half); });
  EXPECT_EQ(refused->kind(), ErrorKind::kTooLarge);
  EXPECT_THAT(refused->what(), HasSubstr("worker 0 (generation 1) has refused: worker 0 (generation 1) has no room"));
  const auto own = error_of([&] { put(first, {.view = 1, .source = 0, .round = 9, .destination = 0}, half); });
  EXPECT_EQ(own->kind(), ErrorKind::kTooLarge);
  first.retire(1, 0, 1, 2, soon());
  put(first, {.view = 1, .source = 0, .round = 9, .destination = 0}, half);
}

TEST_F(DirectChannelTest, DropsWhatIsOfViewsThatAreOver) {
  const auto first = channel_of(kWorker0);
  const auto second = channel_of(kWorker1);
  put(*first, key_to(kWorker1), "old");
  EXPECT_EQ(get(*second, key_to(kWorker1)), "old");
  over_before_ = 2;
  auto key = key_to(kWorker1);
  key.view = 2;
  put(*first, key, "new");
  EXPECT_EQ(get(*second, key), "new");
  EXPECT_EQ(second->contents(soon()).messages, 1U);
  EXPECT_EQ(first->contents(soon()).messages, 1U);
}

/// A worker whose every frame the test chooses.
class RawWorker final : public DirectReceiver {
 public:
  explicit RawWorker(const std::string& address)
      : link_(1, connect_to(parse_address(address), nullptr, Deadline::in(20s)), memory_), scratch_(4096) {}

  void say(DirectKind kind, Bytes body = {}) {
    link_.send(kind, {}, std::move(body));
    EXPECT_TRUE(link_.flush());
  }
  void hello(const DirectHello& hello) { say(DirectKind::kHello, encode_direct_hello(hello)); }
  /// The next frame of a kind; none if the connection ends before.
  std::optional<Bytes> wait_for(DirectKind kind) {
    for (;;) {
      if (const auto at = std::ranges::find(frames_, kind, &Frame::kind); at != frames_.end()) {
        auto body = std::move(at->body);
        frames_.erase(at);
        return body;
      }
      if (wait_ready(link_.socket(), POLLIN, nullptr, Deadline::in(20s)) != Woken::kReady) return std::nullopt;
      if (!link_.receive(*this, scratch_)) return std::nullopt;
    }
  }
  bool admit(DirectLink& /*link*/, const DirectHead& /*head*/) override { return true; }
  void taken(DirectLink& /*link*/, const std::shared_ptr<DirectMessage>& /*message*/) override {}
  void take(DirectLink& /*link*/, const DirectHead& head, const std::optional<SharedBytes>& body) override {
    frames_.push_back({head.kind, Bytes(body->view().begin(), body->view().end())});
  }

 private:
  struct Frame {
    DirectKind kind;
    Bytes body;
  };
  DirectMemory memory_;
  DirectLink link_;
  Bytes scratch_;
  std::vector<Frame> frames_;
};

class RawDirectTest : public DirectChannelTest {
 protected:
  RawDirectTest() : first_(channel_of(kWorker0)) { put(*first_, key_to(kWorker1, 0), "m"); }
  [[nodiscard]] std::string address() {
    return std::string(as_text(registers_.read("direct/0-1", soon())->bytes.view()));
  }
  const DirectHello hello_{.from = kWorker1, .to = kWorker0, .token = "secret", .job = "job"};
  std::unique_ptr<DirectChannel> first_;
};

TEST_F(RawDirectTest, SendsAgainWhatWasNotTakenBeforeAConnectionWasLost) {
  {
    RawWorker lost(address());
    lost.hello(hello_);
    EXPECT_TRUE(lost.wait_for(DirectKind::kWelcome));
    EXPECT_EQ(as_text(*lost.wait_for(DirectKind::kMessage)), "m");
    put(*first_, key_to(kWorker1, 1), kLarge);  // is not taken, and so copied after a while
  }
  RawWorker again(address());
  again.hello(hello_);
  EXPECT_EQ(as_text(*again.wait_for(DirectKind::kMessage)), "m");
  EXPECT_TRUE(as_text(*again.wait_for(DirectKind::kMessage)) == kLarge);
  again.say(DirectKind::kTaken);  // says that both have come
  RawWorker third(address());
  third.hello(hello_);
  EXPECT_FALSE(again.wait_for(DirectKind::kMessage)) << "the older connection goes on";
  third.say(DirectKind::kPing);
  EXPECT_TRUE(third.wait_for(DirectKind::kPong));
  put(*first_, key_to(kWorker1, 2), "new");
  EXPECT_EQ(as_text(*third.wait_for(DirectKind::kMessage)), "new") << "what was taken is sent again";
}

TEST_F(RawDirectTest, AcceptsAgainWhenThereAreDescriptorsAgain) {
  const auto where = address();
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const auto before = limit.rlim_cur;
  limit.rlim_cur = std::min<rlim_t>(before, 256);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  std::vector<Descriptor> all;
  for (;;) {
    Descriptor one(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!one) break;
    all.push_back(std::move(one));
  }
  ASSERT_FALSE(all.empty());
  all.pop_back();
  RawWorker worker(where);  // with the last one: there is none for the other end
  worker.hello(hello_);
  std::this_thread::sleep_for(500ms);  // which is tried a few times
  all.clear();
  limit.rlim_cur = before;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_TRUE(worker.wait_for(DirectKind::kWelcome));
  EXPECT_EQ(as_text(*worker.wait_for(DirectKind::kMessage)), "m");
}

TEST_F(RawDirectTest, SaysWhyItRefuses) {
  const auto refusal_after = [&](const std::function<void(RawWorker&)>& speak) {
    RawWorker worker(address());
    speak(worker);
    const auto body = worker.wait_for(DirectKind::kRefused);
    return body ? parse_direct_refusal(*body).kind : ErrorKind::kInternal;
  };
  const auto with = [&](const auto& change) {
    auto hello = hello_;
    change(hello);
    return refusal_after([&](RawWorker& worker) { worker.hello(hello); });
  };
  EXPECT_EQ(with([](auto& hello) { hello.token.clear(); }), ErrorKind::kUnauthorized);
  EXPECT_EQ(with([](auto& hello) { hello.token += "!"; }), ErrorKind::kUnauthorized);
  EXPECT_EQ(with([](auto& hello) { hello.to.generation = 2; }), ErrorKind::kConflict);
  EXPECT_EQ(with([](auto& hello) { hello.job = "another"; }), ErrorKind::kConflict);
  EXPECT_EQ(with([](auto& hello) { hello.from = {0, 2}; }), ErrorKind::kCorrupt);
  EXPECT_EQ(refusal_after([&](RawWorker& worker) { worker.say(DirectKind::kPing); }), ErrorKind::kCorrupt)
      << "before a hello";
  EXPECT_EQ(refusal_after([&](RawWorker& worker) {
              worker.hello(hello_);
              worker.hello(hello_);
            }),
            ErrorKind::kCorrupt);
  EXPECT_EQ(refusal_after([&](RawWorker& worker) {
              auto hello = encode_direct_hello(hello_);
              hello[4] = std::byte{9};  // the version
              worker.say(DirectKind::kHello, hello);
            }),
            ErrorKind::kUnsupported);
  const auto second = channel_of(kWorker1);
  EXPECT_EQ(get(*second, key_to(kWorker1, 0)), "m") << "who is as he should is served";
}

}  // namespace
}  // namespace virga
