#include "virga/job/presets.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using testing::HasSubstr;

TEST(PresetsTest, MakeJobsThatAreAllowed) {
  std::set<std::string_view> names;
  for (const auto& preset : presets()) {
    EXPECT_TRUE(names.insert(preset.name).second) << preset.name;
    EXPECT_FALSE(preset.help.empty());
    Settings settings;
    settings.set(settings_of(preset));
    std::vector<std::string> warnings;
    (void)make_job(settings, warnings);
    EXPECT_THAT(warnings, testing::IsEmpty()) << preset.name;
    EXPECT_EQ(&find_preset(preset.name), &preset);
  }
}

TEST(PresetsTest, DecideWhatTheirNamesSay) {
  const auto job_of = [](const char* name) {
    Settings settings;
    settings.set(settings_of(find_preset(name)));
    std::vector<std::string> warnings;
    return make_job(settings, warnings);
  };
  EXPECT_EQ(job_of("single").functions.engine, "single");
  EXPECT_EQ(job_of("functions-ps").functions.engine, "local");
  EXPECT_EQ(job_of("functions-ps").exchange.channel, "ps");
  EXPECT_EQ(job_of("functions-directory").exchange.channel, "directory");
}

TEST(PresetsTest, AnUnknownOneIsRefusedWithTheNearest) {
  try {
    (void)find_preset("singel");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_EQ(error.remedy(), "did you mean single?");
  }
  try {
    (void)find_preset("zzzzzzzzzz");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.remedy(), HasSubstr("functions-ps, functions-directory"));
  }
}

}  // namespace
}  // namespace virga
