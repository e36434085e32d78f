#pragma once

#include <cstddef>
#include <span>

namespace virga {

/// Fills `bytes`, at most 256, with what nobody can foretell: for tokens, keys and names. What is to be the same again
/// comes from random.h. Throws Error(kIo).
void fill_with_system_random(std::span<std::byte> bytes);

}  // namespace virga
