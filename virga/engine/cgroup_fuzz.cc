#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "virga/base/error.h"
#include "virga/engine/cgroup.h"
#include "virga/engine/cgroup_divide.h"
#include "virga/engine/sandbox_watch.h"

namespace virga {
namespace {

/// What the kernel says of mounts, groups and processes; parts of it (names of programs, folders and groups) are chosen
/// by others. Nothing of it may crash, and what is found lies where it must.
void parse_all(std::string_view text) {
  const auto first = text.substr(0, text.find('\f'));
  const auto rest = text.substr(std::min(text.size(), first.size() + 1));
  for (int i = 0; i < kControllers; ++i) {
    const auto found = find_hierarchy(static_cast<Controller>(i), first, rest, rest);
    check(found.version >= 0 && found.version <= 2, "a version that there is not");
    check(found.version == 0 || found.current.string().starts_with(found.mount.string()),
          "a group outside of its hierarchy");
  }
  if (const auto owner = group_owner(text)) {
    check(group_owner(group_name("a", *owner)) == owner, "an owner changed on its way");
  }
  if (const auto owner = aside_owner(text)) {
    check(aside_owner(aside_name(*owner)) == owner, "an owner changed on its way");
  }
  (void)second_version_mounts(text);
  check(process_numbers(text).size() <= text.size(), "more numbers than letters");
  (void)parse_process(text);
  (void)number_after_key(first, rest);
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  virga::parse_all({reinterpret_cast<const char*>(data), size});
  return 0;
}
