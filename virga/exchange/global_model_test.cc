#include "virga/exchange/global_model.h"

#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"

namespace virga {
namespace {

Tables small_model() {
  Tables model({{.name = "weights", .rows = 2, .width = 1, .regularised = true, .sparse = true},
                {.name = "bias", .rows = 1, .width = 1, .regularised = false, .sparse = false}});
  model.values = {{1, 2}, {-1}};
  return model;
}

TEST(GlobalModel, HoldsItsBytesAndComesBack) {
  const auto bytes = encode_global_model(small_model(), 7);
  std::string text;
  for (const auto byte : bytes) text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  EXPECT_EQ(text,
            "56474c42"          // VGLB
            "01000000"          // version
            "0700000000000000"  // 7 updates have led to it
            "0300000000000000"  // 3 values
            "0000803f00000040"  // 1, 2
            "000080bf"          // -1
            "0c2a9804");
  EXPECT_EQ(bytes.size(), global_model_bytes(small_model().layout));
  Tables again(small_model().layout);
  EXPECT_EQ(decode_global_model(bytes, "", again), 7U);
  EXPECT_EQ(again, small_model());
}

TEST(GlobalModel, RefusesAllDamageAndOtherLayouts) {
  const auto bytes = encode_global_model(small_model(), 7);
  const auto expect_refused = [](ByteView damaged, const Layout& layout) {
    Tables to(layout);
    try {
      (void)decode_global_model(damaged, "x", to);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
    }
  };
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    expect_refused(ByteView(bytes).first(size), small_model().layout);
  }
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    expect_refused(damaged, small_model().layout);
  }
  auto other = small_model().layout;
  ++other[0].rows;
  expect_refused(bytes, other);
}

}  // namespace
}  // namespace virga
