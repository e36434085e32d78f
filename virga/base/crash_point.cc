#include "virga/base/crash_point.h"

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

namespace virga {
namespace {

enum class Fate : std::uint8_t { kDie, kEat, kStop };

struct Plan {
  std::string name;
  std::string tokens;  // a folder; empty: there is no end of them
  Fate fate = Fate::kDie;
  std::atomic<std::int64_t> left = 0;
};

Plan& plan() {
  static Plan instance;
  return instance;
}

bool take_token(const std::string& folder) {
  constexpr int kMostTokens = 100;
  for (int i = 0; i < kMostTokens; ++i) {
    if (::unlink((folder + "/" + std::to_string(i)).c_str()) == 0) return true;
  }
  return false;
}

/// Takes memory up to a bound, for whoever sets no limit.
void eat() noexcept {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  constexpr std::size_t kMostPieces = 4096;
  for (std::size_t i = 0; i < kMostPieces; ++i) {
    // Not by malloc(), which a compiler may leave out where nobody reads what it gave.
    void* piece = ::mmap(nullptr, kPiece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (piece == MAP_FAILED) return;
    std::memset(piece, 1, kPiece);
  }
}

}  // namespace

void arm_crash_points() {
  auto& planned = plan();
  const char* text = nullptr;
  for (const auto& [variable, fate] :
       {std::pair{"VIRGA_CRASH_AT", Fate::kDie}, {"VIRGA_EAT_AT", Fate::kEat}, {"VIRGA_STOP_AT", Fate::kStop}}) {
    if (text != nullptr) break;
    text = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe): there is one thread
    planned.fate = fate;
  }
  if (text == nullptr) return;
  const char* folder = std::getenv("VIRGA_CRASH_TOKENS");  // NOLINT(concurrency-mt-unsafe): there is one thread
  if (folder != nullptr) planned.tokens = folder;
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
  if (--planned.left != 0) return;
  if (!planned.tokens.empty() && !take_token(planned.tokens)) return;
  if (planned.fate == Fate::kEat) eat();
  ::raise(planned.fate == Fate::kStop ? SIGSTOP : SIGKILL);
}

}  // namespace virga
