#pragma once

#include <thread>

#include "virga/base/threads.h"

namespace virga {

/// How often threads that wait for each other look before they sleep: some 100 to 200 us, what ranks with equal work
/// differ by; not at all if there are more of them than cores.
[[nodiscard]] inline int spins_of(unsigned threads) { return threads <= usable_cores() ? 8000 : 0; }

/// Looks `spins` times whether there is something to go on with.
template <typename Ready>
void spin(int spins, const Ready& ready) {
  constexpr int kYieldEvery = 64;  // other programs may leave one core to all threads, where waiting needs it most
  for (int i = 1; i <= spins && !ready(); ++i) {
    if (i % kYieldEvery == 0) {
      std::this_thread::yield();
    } else {
      __builtin_ia32_pause();
    }
  }
}

}  // namespace virga
