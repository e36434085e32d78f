#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace virga {

/// What went wrong, as far as a caller (or a shell script) can act on it.
enum class ErrorKind {
  kUsage,             ///< a flag, a job file or a combination of settings is wrong
  kUnsupported,       ///< understood, but not built
  kNotFound,          ///< a named file, object, set or run is not there
  kBadData,           ///< input that its format does not allow
  kCorrupt,           ///< our own format, damaged: truncated, checksum, version
  kConflict,          ///< something else stands there already
  kTooLarge,          ///< a limit would be exceeded
  kIo,                ///< the operating system refused: permissions, disk full, ...
  kUnavailable,       ///< a service does not answer
  kUnauthorized,      ///< a service refused our credentials
  kThrottled,         ///< a service asks us to come back later
  kDeadlineExceeded,  ///< a bounded wait ran out
  kBudgetExhausted,   ///< money or time given by the user ran out before the target
  kDiverged,          ///< a non-finite or hopeless loss
  kInterrupted,       ///< the user stopped it
  kInternal,          ///< a bug
};

/// "bad_data", "not_found", ...: stable names, used in JSON output.
[[nodiscard]] std::string_view to_string(ErrorKind kind) noexcept;

/// May the same call succeed later, with nothing changed?
[[nodiscard]] constexpr bool is_retryable(ErrorKind kind) noexcept {
  return kind == ErrorKind::kUnavailable || kind == ErrorKind::kThrottled || kind == ErrorKind::kDeadlineExceeded;
}

/// The exit status of a program that ends with this error: 1 failed, 2 usage or job file, 3 bad data, 4 service or
/// credentials, 5 budget or deadline, 130 stopped.
[[nodiscard]] int exit_code(ErrorKind kind) noexcept;

/// A failure that ends the operation. `what()` says what was tried and what was seen; `remedy()` what to do about it
/// (may be empty). Both are one paragraph of plain text, without a final full stop and without "error:".
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& what, std::string remedy = {})
      : std::runtime_error(what), kind_(kind), remedy_(std::move(remedy)) {}
  [[nodiscard]] ErrorKind kind() const noexcept { return kind_; }
  [[nodiscard]] const std::string& remedy() const noexcept { return remedy_; }

 private:
  ErrorKind kind_;
  std::string remedy_;
};

/// Error for a failed system call: `what` followed by the text of `error_number` (errno). Disk full, missing file and
/// missing permission get their own remedy; kind is kNotFound for ENOENT, else kIo.
[[nodiscard]] Error system_error(std::string_view what, int error_number);

/// Stops the program with a message when a precondition of ours is broken: a bug, never bad input.
void check(bool condition, std::string_view message) noexcept;

}  // namespace virga
