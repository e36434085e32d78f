#pragma once

#include <string>

#include "virga/collective/all_reduce.h"

namespace virga {

/// For names of tests.
inline std::string name_of(Pattern pattern) {
  std::string name(to_string(pattern));
  for (auto& letter : name) letter = letter == '-' ? '_' : letter;
  return name;
}

}  // namespace virga
