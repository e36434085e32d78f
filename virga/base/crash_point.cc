#include "virga/base/crash_point.h"

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace virga {
namespace {

struct Plan {
  std::string name;
  int signal = SIGKILL;
  std::atomic<std::int64_t> left = 0;
};

Plan& plan() {
  static Plan instance;
  return instance;
}

}  // namespace

void arm_crash_points() {
  auto& planned = plan();
  const char* text = std::getenv("VIRGA_CRASH_AT");  // NOLINT(concurrency-mt-unsafe): there is one thread
  if (text == nullptr) {
    planned.signal = SIGSTOP;
    text = std::getenv("VIRGA_STOP_AT");  // NOLINT(concurrency-mt-unsafe): there is one thread
  }
  if (text == nullptr) return;
  const std::string_view all = text;
  const auto colon = all.rfind(':');
  if (colon == std::string_view::npos) return;
  std::int64_t passages = 0;
  std::from_chars(all.data() + colon + 1, all.data() + all.size(), passages);
  planned.name = all.substr(0, colon);
  planned.left = passages;
}

void crash_point(std::string_view name) noexcept {
  auto& planned = plan();
  if (planned.left.load(std::memory_order_relaxed) <= 0 || planned.name != name) return;
  if (--planned.left == 0) ::raise(planned.signal);
}

}  // namespace virga
