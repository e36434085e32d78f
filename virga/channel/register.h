#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "virga/base/deadline.h"
#include "virga/base/shared_bytes.h"
#include "virga/channel/paid_requests.h"

namespace virga {

struct RegisterValue {
  std::uint64_t version = 0;  ///< of one name: from 1, growing with each write
  SharedBytes bytes;
};

/// Registers are the one mutable thing that functions share: by name, a small value and its version (a global model,
/// the pointer to the newest checkpoint, the run's view). Every read finds the newest write that had returned before
/// it. A value appears whole. Several threads and processes may call any member at once. Names are as for objects
/// (is_object_name). Throws Error as a Channel does, kUsage for a bad name, kTooLarge beyond max_value_bytes().
class Register {
 public:
  Register() = default;
  Register(const Register&) = delete;
  Register& operator=(const Register&) = delete;
  virtual ~Register() = default;

  /// None if the name was never written, or removed.
  [[nodiscard]] virtual std::optional<RegisterValue> read(std::string_view name, const Wait& wait) = 0;

  /// Replaces the value, whatever it is; returns the new version. Of writes at the same time the last one stays: what
  /// one read and changed may be lost. That is what compare_exchange() is for.
  virtual std::uint64_t write(std::string_view name, ByteView bytes, const Wait& wait) = 0;

  /// Replaces the value if its version is still `expected` (0: there is none); returns the new version, or none if
  /// somebody else came first. A call that throws kUnavailable or kDeadlineExceeded may have taken place.
  [[nodiscard]] virtual std::optional<std::uint64_t> compare_exchange(std::string_view name, std::uint64_t expected,
                                                                      ByteView bytes, const Wait& wait) = 0;

  /// Waits for a value whose version is above `version` (0: for any).
  [[nodiscard]] virtual RegisterValue wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) = 0;

  /// Forgets the name; one that is not there is no error. Versions of a name that is written again start anew.
  virtual void remove(std::string_view name, const Wait& wait) = 0;

  /// How many writes made `newer` of `older`, two versions of one name. Where versions are those of a whole server, at
  /// most; where writes at the same time may get one count, at least.
  [[nodiscard]] virtual std::uint64_t writes_between(std::uint64_t older, std::uint64_t newer) const noexcept {
    return newer - older;
  }

  /// Of this object's calls so far; none where requests cost nothing.
  [[nodiscard]] virtual PaidRequests paid() const { return {}; }
  [[nodiscard]] virtual std::size_t max_value_bytes() const noexcept = 0;
  [[nodiscard]] virtual const std::string& uri() const noexcept = 0;
};

/// Throws Error(kUsage) unless `name` can name a register.
void check_register_name(const Register& registers, std::string_view name);
/// Throws Error(kDeadlineExceeded), naming the register and the version that stayed.
[[noreturn]] void throw_not_newer(const Register& registers, std::string_view name, std::uint64_t version);

}  // namespace virga
