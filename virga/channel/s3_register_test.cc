// What is special about registers at S3: what they leave, and what one that was killed leaves.
#include "virga/channel/s3_register.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "virga/storage/swift_testing.h"

namespace virga {
namespace {

using testing::SizeIs;

Wait within() { return {Deadline::in(std::chrono::seconds(20))}; }

class S3RegisterTest : public testing::Test {
 protected:
  S3RegisterTest() : client_(Swift::shared().client(Swift::shared().make_bucket())), register_(client_, "job") {}

  void put(const std::string& key, ByteView bytes) {
    const S3Client::Put object{.key = key, .parts = {bytes}};
    client_->put({&object, 1}, within());
  }
  /// What a proposer says, as docs/s3.md has it.
  static Bytes block(std::uint64_t ballot, std::uint64_t accepted, std::uint64_t version, std::string_view value) {
    Bytes bytes;
    ByteWriter writer(bytes);
    for (const auto number : {ballot, accepted, version}) writer.put(number);
    writer.put_span(as_bytes(value));
    return bytes;
  }
  [[nodiscard]] std::string text() {
    const auto value = register_.read("a", within());
    return value ? std::string(as_text(value->bytes.view())) : "none";
  }

  std::shared_ptr<S3Client> client_;
  S3Register register_;
};

TEST_F(S3RegisterTest, LeavesTheNewestVersionAndTheOneBefore) {
  for (const auto* value : {"one", "two", "three", "four"}) register_.write("a", as_bytes(value), within());
  EXPECT_THAT(client_->list("job/r/a/", "", within()), SizeIs(2));
  register_.remove("a", within());
  EXPECT_THAT(client_->list("", "", within()), SizeIs(0));
}

TEST_F(S3RegisterTest, FinishesWhatOneThatWasKilledHasAgreedOn) {
  const auto first = register_.write("a", as_bytes("one"), within());
  const std::uint64_t second = ((first >> 20U) + 1) << 20U | 7U;
  const auto folder = fmt::format("job/x/a/{:016x}/", first);
  // It had accepted its own proposal, and died before it published.
  put(folder + "00000005-2", block(std::uint64_t{1} << 32U | 5U, std::uint64_t{1} << 32U | 5U, second, "of the dead"));
  EXPECT_EQ(text(), "one");
  EXPECT_EQ(register_.compare_exchange("a", first, as_bytes("late"), within()), std::nullopt);
  EXPECT_EQ(text(), "of the dead");
  const auto third = register_.compare_exchange("a", second, as_bytes("next"), within());
  EXPECT_TRUE(third);
  EXPECT_EQ(text(), "next");
}

TEST_F(S3RegisterTest, GoesOnAfterOneThatWasKilledBeforeItProposed) {
  const auto first = register_.write("a", as_bytes("one"), within());
  const auto folder = fmt::format("job/x/a/{:016x}/", first);
  put(folder + "00000005-1", block(std::uint64_t{9} << 32U | 5U, 0, 0, ""));
  EXPECT_TRUE(register_.compare_exchange("a", first, as_bytes("two"), within()));
  EXPECT_EQ(text(), "two");
}

TEST_F(S3RegisterTest, RefusesAProposalThatIsCutShort) {
  const auto first = register_.write("a", as_bytes("one"), within());
  put(fmt::format("job/x/a/{:016x}/00000005-1", first), as_bytes("short"));
  EXPECT_THROW((void)register_.compare_exchange("a", first, as_bytes("two"), within()), Error);
}

}  // namespace
}  // namespace virga
