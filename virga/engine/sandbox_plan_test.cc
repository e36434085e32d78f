#include "virga/engine/sandbox_plan.h"

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/engine/sandbox_watch.h"

namespace virga {
namespace {

using Mounts = std::vector<FilesView::Mount>;

TEST(ViewFilesTest, ShowsNothingTwiceThatIsNotCovered) {
  EXPECT_EQ(view_files("/usr/bin/x", "/home", {"/var/b", "/var/a"}),
            (FilesView{true, true, Mounts{{"/var/a", 'w'}, {"/var/b", 'w'}}}));
}

TEST(ViewFilesTest, ShowsTheProgramItsNeighboursAndTheFolderBelowTmp) {
  EXPECT_EQ(view_files("/tmp/p/x", "/tmp/w", {}), (FilesView{true, true, Mounts{{"/tmp/p", 'r'}, {"/tmp/w", 'r'}}}));
  EXPECT_EQ(view_files("/tmp/p/q/x", "/tmp/p", {"/tmp/p/out"}),
            (FilesView{true, true, Mounts{{"/tmp/p", 'r'}, {"/tmp/p/out", 'w'}}}));
  EXPECT_EQ(view_files("/tmp/x", "/tmp", {}), (FilesView{true, true, Mounts{{"/tmp/x", 'f'}}}));
  EXPECT_EQ(view_files("/run/p/x", "/", {}), (FilesView{true, true, Mounts{{"/run/p", 'r'}}}));
  EXPECT_EQ(view_files("/tmp/p/x", "/tmp/p", {"/tmp/p"}), (FilesView{true, true, Mounts{{"/tmp/p", 'w'}}}));
}

TEST(ViewFilesTest, CoversNothingThatIsToBeWrittenToAsAWhole) {
  EXPECT_EQ(view_files("/tmp/p/x", "/tmp", {"/tmp"}), (FilesView{false, true, Mounts{{"/tmp", 'w'}}}));
  EXPECT_EQ(view_files("/bin/x", "/", {"/run"}), (FilesView{true, false, Mounts{{"/run", 'w'}}}));
  // A name that only begins alike.
  EXPECT_EQ(view_files("/tmpfs/x", "/", {}), (FilesView{true, true, {}}));
}

TEST(ResolveTest, RefusesWhatNoSandboxCanBeGiven) {
  const SandboxSpec good{.program = "/bin/sh", .working_folder = "/"};
  EXPECT_EQ(resolve(good).working_folder, "/");
  const auto kind_of = [&](auto change) {
    auto bad = good;
    change(bad);
    try {
      (void)resolve(bad);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  EXPECT_EQ(kind_of([](auto& spec) { spec.cpus = 0; }), ErrorKind::kUsage);
  EXPECT_EQ(kind_of([](auto& spec) { spec.most_files = 2; }), ErrorKind::kUsage);
  EXPECT_EQ(kind_of([](auto& spec) { spec.listen.resize(65); }), ErrorKind::kUsage);
  EXPECT_EQ(kind_of([](auto& spec) { spec.working_folder = "/etc/passwd"; }), ErrorKind::kUsage);
  EXPECT_EQ(kind_of([](auto& spec) { spec.environment["A"] = std::string("x\0y", 3); }), ErrorKind::kUsage);
  EXPECT_EQ(kind_of([](auto& spec) { spec.program = "/"; }), ErrorKind::kNotFound);
}

TEST(EncodePlanTest, RefusesAPlanWithoutEnd) {
  SandboxSpec spec{.program = "/bin/sh", .arguments = {std::string(9 << 20, 'x')}, .working_folder = "/"};
  try {
    (void)encode_plan(spec, {}, false);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kTooLarge);
  }
}

TEST(ParseProcessTest, ReadsANameThatHoldsAnything) {
  const auto facts = parse_process(
      "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 30 40 20 0 1 0 987654 1000 50 18446744073709551615 1\n");
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->pid, 42);
  EXPECT_EQ(facts->parent, 7);
  EXPECT_EQ(facts->state, 'S');
  EXPECT_EQ(facts->start, 987654U);
  EXPECT_EQ(facts->cpu, std::chrono::milliseconds(1200));
  EXPECT_EQ(facts->cpu_of_children, std::chrono::milliseconds(700));
  for (const auto* text : {"", "42", "42 (a", "42 (a)", "42 (a) S", "42 (a) S 7 8", ") (", "42 (a) S x y z"}) {
    EXPECT_FALSE(parse_process(text)) << text;
  }
}

}  // namespace
}  // namespace virga
