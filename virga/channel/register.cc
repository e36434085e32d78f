#include "virga/channel/register.h"

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/storage/object_store.h"

namespace virga {

void check_register_name(const Register& registers, std::string_view name) {
  if (is_object_name(name)) return;
  throw Error(ErrorKind::kUsage,
              fmt::format("{}: not a name for a register: \"{}\"", registers.uri(), name.substr(0, 200)),
              "use parts of 1 to 200 characters between single '/', none of which begins with '.'");
}

void throw_not_newer(const Register& registers, std::string_view name, std::uint64_t version) {
  throw Error(ErrorKind::kDeadlineExceeded,
              fmt::format("{}: register \"{}\" had no value above version {} in time", registers.uri(), name, version));
}

}  // namespace virga
