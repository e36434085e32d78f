#include "virga/net/address.h"

#include <gtest/gtest.h>

#include "virga/base/error.h"

namespace virga {
namespace {

TEST(Address, ReadsWhatItHasWritten) {
  for (const auto* text : {"unix:/run/virga.sock", "unix:relative", "tcp:127.0.0.1:7077", "tcp:host.example:0",
                           "tcp:[::1]:65535", "tcp:[fe80::1%eth0]:1"}) {
    EXPECT_EQ(to_string(parse_address(text)), text);
  }
  EXPECT_EQ(parse_address("tcp:[::1]:80").host, "::1");
  EXPECT_EQ(parse_address("tcp:a:80").port, 80);
}

TEST(Address, RefusesWhatIsNone) {
  using std::string_view_literals::operator""sv;
  for (const auto text : {""sv, "unix:"sv, "unix:a\0b"sv, "tcp:"sv, "tcp:host"sv, "tcp::80"sv, "tcp:host:"sv,
                          "tcp:host:80x"sv, "tcp:host:-1"sv, "tcp:host:65536"sv, "tcp:::1:80"sv, "http://host"sv}) {
    try {
      static_cast<void>(parse_address(text));
      ADD_FAILURE() << "taken: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    }
  }
}

}  // namespace
}  // namespace virga
