#pragma once

#include <cerrno>
#include <concepts>
#include <cstdint>
#include <type_traits>

#include <sys/syscall.h>
#include <unistd.h>

/// What may be called between a fork of a program with threads and exec: system calls and nothing else. No locks, no
/// allocation, no wrapper that a sanitizer has put in its place.
namespace virga::sandbox_system {

template <class T>
[[nodiscard]] inline long word(T value) noexcept {
  if constexpr (std::integral<T> || std::is_enum_v<T>) {
    return static_cast<long>(value);
  } else {
    return reinterpret_cast<long>(value);
  }
}
inline long word(std::nullptr_t) noexcept { return 0; }

/// A system call; -1 and errno if it fails.
template <class... Arguments>
inline long call(long number, Arguments... arguments) noexcept {
  return ::syscall(number, word(arguments)...);
}

/// As call(), again as long as a signal interrupts it.
template <class... Arguments>
inline long call_again(long number, Arguments... arguments) noexcept {
  for (;;) {
    const long result = call(number, arguments...);
    if (result >= 0 || errno != EINTR) return result;
  }
}

[[noreturn]] inline void leave(int status) noexcept {
  for (;;) call(SYS_exit_group, status);
}

[[nodiscard]] inline std::size_t length(const char* text) noexcept {
  std::size_t count = 0;
  while (text[count] != '\0') ++count;
  return count;
}

}  // namespace virga::sandbox_system
