#pragma once

#include <functional>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "virga/channel/channel.h"
#include "virga/channel/register.h"

namespace virga {

/// One store, seen by two workers; and whatever must live as long (a server, a folder).
template <typename Store>
struct Pair {
  Pair() = default;
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  virtual ~Pair() = default;
  std::shared_ptr<Store> first;
  std::shared_ptr<Store> second;
};
using ChannelPair = Pair<Channel>;
using RegisterPair = Pair<Register>;

/// What the contract suites run on.
template <typename Store>
struct StoreCase {
  std::string name;
  std::function<std::unique_ptr<Pair<Store>>()> make;
  bool is_slow = false;  ///< then what is repeated is repeated less often
};
using ChannelCase = StoreCase<Channel>;
using RegisterCase = StoreCase<Register>;

template <typename Case>
std::string name_of_case(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

}  // namespace virga
