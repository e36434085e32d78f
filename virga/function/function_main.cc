// virga-function: one invocation. Takes its payload from a file or from standard input and answers on standard output.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/memory.h"
#include "virga/base/version.h"
#include "virga/function/run_task.h"

namespace {

constexpr std::string_view kHelp = R"(virga-function: one invocation of a function of Virga

usage: virga-function PAYLOAD.json     the payload from a file
       virga-function -                the payload from standard input

Does what the payload says (train as a worker of a run, or evaluate one of its snapshots) and answers with one line of
JSON on standard output. It is started by 'virga train --engine process'; nobody needs to start it by hand.
VIRGA_CHANNEL_TOKEN opens the run's channel, where it wants a token.

  --help, --version
)";

std::string read_payload(const std::string& source) {
  if (source == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  const auto bytes = virga::read_file(source, virga::kMostPayloadBytes);
  return std::string(virga::as_text(bytes));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view argument = argc == 2 ? argv[1] : "";
  if (argument == "--help" || argument == "-h") {
    std::cout << kHelp;
    return 0;
  }
  if (argument == "--version") {
    std::cout << virga::created_by() << "\n";
    return 0;
  }
  if (argument.empty() || (argument.size() > 1 && argument[0] == '-')) {
    std::cerr << kHelp;
    return 2;
  }
  virga::arm_crash_points();
  virga::keep_freed_memory();
  virga::Answer answer;
  try {
    const char* token = std::getenv("VIRGA_CHANNEL_TOKEN");  // NOLINT(concurrency-mt-unsafe): there is one thread
    answer = virga::run_task(virga::decode_payload(read_payload(std::string(argument))), token == nullptr ? "" : token);
  } catch (const virga::Error& error) {
    answer = {.end = "error",
              .error_kind = std::string(virga::to_string(error.kind())),
              .message = error.what(),
              .remedy = error.remedy()};
  }
  virga::crash_point("before_answer");
  std::cout << virga::encode_answer(answer) << std::endl;
  virga::crash_point("after_answer");
  return answer.end == "error" ? 1 : 0;
}
