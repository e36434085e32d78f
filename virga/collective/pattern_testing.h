#pragma once

#include <string>

#include "virga/collective/all_reduce.h"

namespace virga {

/// For suites of whole runs: pipelined, which is the only one with threads of its own, has cells of its own in them.
constexpr Pattern kPatternsOfOneThread[] = {Pattern::kLeader, Pattern::kScatterReduce, Pattern::kAllToAll,
                                            Pattern::kTree};

/// For names of tests.
inline std::string name_of(Pattern pattern) {
  std::string name(to_string(pattern));
  for (auto& letter : name) letter = letter == '-' ? '_' : letter;
  return name;
}

}  // namespace virga
