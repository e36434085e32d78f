#include <string>
#include <vector>

#include <malloc.h>
#include <unistd.h>

#include "virga/cli/commands.h"
#include "virga/cli/output.h"
#include "virga/cli/program.h"

namespace {

virga::Environment read_environment() {
  virga::Environment environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const auto equals = text.find('=');
    if (equals != std::string::npos) environment.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

/// Buffers come and go by the thousand: what was freed is kept for the next one instead of going back to the system,
/// which would have to clear the pages anew.
void keep_freed_memory() {
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 256 << 20);
  ::mallopt(M_TOP_PAD, 4 << 20);
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  virga::prepare_standard_streams();
  virga::Program program;
  virga::add_all_commands(program);
  return program.run({argv + 1, argv + argc}, read_environment());
}
