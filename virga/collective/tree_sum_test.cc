#include "virga/collective/tree_sum.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace virga {
namespace {

std::string order_of(std::size_t count) {
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < count; ++i) parts.push_back(std::to_string(i));
  tree_sum(std::span(parts),
           [](std::string& left, const std::string& right) { left = "(" + left + "+" + right + ")"; });
  return parts.empty() ? "" : parts[0];
}

TEST(TreeSum, AddsOverTheBalancedTreeOfAdjacentParts) {
  EXPECT_EQ(order_of(0), "");
  EXPECT_EQ(order_of(1), "0");
  EXPECT_EQ(order_of(2), "(0+1)");
  EXPECT_EQ(order_of(3), "((0+1)+2)");
  EXPECT_EQ(order_of(4), "((0+1)+(2+3))");
  EXPECT_EQ(order_of(5), "(((0+1)+(2+3))+4)");
  EXPECT_EQ(order_of(7), "(((0+1)+(2+3))+((4+5)+6))");
  EXPECT_EQ(order_of(8), "(((0+1)+(2+3))+((4+5)+(6+7)))");
}

}  // namespace
}  // namespace virga
