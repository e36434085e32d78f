#include "virga/channel/open_channel.h"

#include <gmock/gmock.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using testing::HasSubstr;

TEST(OpenChannel, OpensEachKindByItsUri) {
  EXPECT_THAT(open_channel("directory:/tmp/x", "run", "")->uri(), HasSubstr("/tmp/x/run"));
  EXPECT_THAT(open_channel("ps:tcp:127.0.0.1:7077", "run", "")->uri(), HasSubstr("127.0.0.1:7077"));
  EXPECT_THAT(open_channel("ps:unix:/tmp/s", "run", "")->uri(), HasSubstr("/tmp/s"));
}

TEST(OpenChannel, RefusesWhatIsNoneOrNotBuilt) {
  for (const auto& [uri, kind] : {std::pair{"", ErrorKind::kUsage},
                                  {"directory", ErrorKind::kUsage},
                                  {"s3:bucket", ErrorKind::kUnsupported},
                                  {"ps:nowhere", ErrorKind::kUsage}}) {
    try {
      (void)open_channel(uri, "run", "");
      FAIL() << uri;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << uri << ": " << error.what();
    }
  }
}

}  // namespace
}  // namespace virga
