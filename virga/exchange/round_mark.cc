#include "virga/exchange/round_mark.h"

#include "virga/base/error.h"
#include "virga/exchange/spin.h"

namespace virga {
namespace {

constexpr std::uint64_t kMarkAborted = 1;

bool has_reached(std::uint64_t state, Round round) noexcept { return state / 2 > round; }

}  // namespace

void RoundMark::set(Round round) {
  const auto before = state_.load(std::memory_order_relaxed) / 2;
  check(round >= before, "rounds of a mark ascend");
  state_.fetch_add(2 * (round + 1 - before), std::memory_order_acq_rel);  // abort() may come in between
  state_.notify_all();
}

bool RoundMark::reached(Round round) const noexcept {
  return has_reached(state_.load(std::memory_order_acquire), round);
}

bool RoundMark::wait(Round round) const {
  const auto over = [&](std::uint64_t state) { return has_reached(state, round) || (state & kMarkAborted) != 0; };
  spin(spins_, [&] { return over(state_.load(std::memory_order_acquire)); });
  auto state = state_.load(std::memory_order_acquire);
  while (!over(state)) {
    state_.wait(state, std::memory_order_acquire);
    state = state_.load(std::memory_order_acquire);
  }
  return has_reached(state, round);
}

void RoundMark::abort() {
  state_.fetch_or(kMarkAborted, std::memory_order_acq_rel);
  state_.notify_all();
}

}  // namespace virga
