#include <string>
#include <vector>

#include <unistd.h>

#include "virga/base/memory.h"
#include "virga/cli/commands.h"
#include "virga/cli/output.h"
#include "virga/cli/program.h"

namespace {

virga::Variables read_environment() {
  virga::Variables environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const auto equals = text.find('=');
    if (equals != std::string::npos) environment.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

}  // namespace

int main(int argc, char** argv) {
  virga::keep_freed_memory();
  virga::prepare_standard_streams();
  virga::Program program;
  virga::add_all_commands(program);
  return program.run({argv + 1, argv + argc}, read_environment());
}
