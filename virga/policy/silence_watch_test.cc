#include "virga/policy/silence_watch.h"

#include <gmock/gmock.h>

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr Member kAnna{0, 2};
constexpr Member kBert{1, 1};
constexpr Member kCara{2, 1};

SilenceWatch::Time at(std::chrono::seconds time) { return SilenceWatch::Time(time); }

TEST(SilenceWatch, DoubtsNobodyBeforePatienceEnds) {
  SilenceWatch watch(10s);
  EXPECT_THAT(watch.doubted(), IsEmpty());
  EXPECT_THAT(watch.lost(at(1000s)), IsEmpty());
}

TEST(SilenceWatch, LosesWhoDoesNotTakeHisPlaceInTheNextView) {
  SilenceWatch watch(10s);
  watch.doubt({kAnna, kBert}, 4, at(100s));
  EXPECT_THAT(watch.doubted(), ElementsAre(kAnna, kBert));

  watch.seen(kAnna, 4);
  watch.seen(kBert, 3);  // before

  EXPECT_THAT(watch.doubted(), ElementsAre(kBert));
  EXPECT_THAT(watch.lost(at(109s)), IsEmpty());
  EXPECT_THAT(watch.lost(at(110s)), ElementsAre(kBert));
  EXPECT_THAT(watch.lost(at(120s)), IsEmpty()) << "named twice";
}

TEST(SilenceWatch, CountsFromTheFirstDoubt) {
  SilenceWatch watch(10s);
  watch.doubt({kBert}, 4, at(100s));
  watch.doubt({kAnna, kBert}, 5, at(107s));  // another one ran out of patience

  EXPECT_THAT(watch.lost(at(110s)), ElementsAre(kBert));
  EXPECT_THAT(watch.lost(at(117s)), ElementsAre(kAnna));
}

TEST(SilenceWatch, LeavesOtherGenerationsAlone) {
  SilenceWatch watch(10s);
  watch.doubt({kBert, kCara}, 4, at(100s));
  watch.seen({kBert.worker, 2}, 4);
  watch.ended({kBert.worker, 2});
  EXPECT_THAT(watch.doubted(), ElementsAre(kBert, kCara));
  watch.ended(kBert);
  EXPECT_THAT(watch.doubted(), ElementsAre(kCara));
  watch.doubt({Member{kCara.worker, 2}}, 6, at(105s));  // its next one
  EXPECT_THAT(watch.lost(at(111s)), IsEmpty());
  EXPECT_THAT(watch.lost(at(115s)), ElementsAre(Member{kCara.worker, 2}));
}

}  // namespace
}  // namespace virga
