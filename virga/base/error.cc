#include "virga/base/error.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace virga {

std::string_view to_string(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kUsage:
      return "usage";
    case ErrorKind::kUnsupported:
      return "unsupported";
    case ErrorKind::kNotFound:
      return "not_found";
    case ErrorKind::kBadData:
      return "bad_data";
    case ErrorKind::kCorrupt:
      return "corrupt";
    case ErrorKind::kConflict:
      return "conflict";
    case ErrorKind::kTooLarge:
      return "too_large";
    case ErrorKind::kIo:
      return "io";
    case ErrorKind::kUnavailable:
      return "unavailable";
    case ErrorKind::kUnauthorized:
      return "unauthorized";
    case ErrorKind::kThrottled:
      return "throttled";
    case ErrorKind::kDeadlineExceeded:
      return "deadline_exceeded";
    case ErrorKind::kBudgetExhausted:
      return "budget_exhausted";
    case ErrorKind::kDiverged:
      return "diverged";
    case ErrorKind::kInterrupted:
      return "interrupted";
    case ErrorKind::kInternal:
      return "internal";
  }
  return "internal";
}

int exit_code(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kUsage:
    case ErrorKind::kUnsupported:
      return 2;
    case ErrorKind::kNotFound:
    case ErrorKind::kBadData:
    case ErrorKind::kCorrupt:
      return 3;
    case ErrorKind::kUnavailable:
    case ErrorKind::kUnauthorized:
    case ErrorKind::kThrottled:
      return 4;
    case ErrorKind::kDeadlineExceeded:
    case ErrorKind::kBudgetExhausted:
      return 5;
    case ErrorKind::kInterrupted:
      return 130;
    case ErrorKind::kConflict:
    case ErrorKind::kTooLarge:
    case ErrorKind::kIo:
    case ErrorKind::kDiverged:
    case ErrorKind::kInternal:
      return 1;
  }
  return 1;
}

Error system_error(std::string_view what, int error_number) {
  const auto text = std::string(what) + ": " + std::generic_category().message(error_number);
  switch (error_number) {
    case ENOENT:
      return {ErrorKind::kNotFound, text, "check the path"};
    case EACCES:
    case EPERM:
    case EROFS:
      return {ErrorKind::kIo, text, "choose a place that you may write to, or mend its permissions"};
    case ENOSPC:
    case EDQUOT:
      return {ErrorKind::kIo, text, "free some space, or choose another disk"};
    default:
      return {ErrorKind::kIo, text};
  }
}

void check(bool condition, std::string_view message) noexcept {
  if (condition) return;
  std::fprintf(stderr, "virga: bug: %.*s\n", static_cast<int>(message.size()), message.data());
  std::abort();
}

}  // namespace virga
