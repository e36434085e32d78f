#include "virga/base/system_random.h"

#include <cerrno>

#include <sys/random.h>

#include "virga/base/error.h"

namespace virga {

void fill_with_system_random(std::span<std::byte> bytes) {
  constexpr std::size_t kMost = 256;  // of which getrandom() never gives a part (getrandom(2))
  check(bytes.size() <= kMost, "more random bytes than come at once");
  while (::getrandom(bytes.data(), bytes.size(), 0) < 0) {
    if (errno != EINTR) throw system_error("cannot draw random numbers", errno);
  }
}

}  // namespace virga
