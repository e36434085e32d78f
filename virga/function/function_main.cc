// virga-function: as the custom runtime of AWS Lambda answers one invocation after the other; else takes one payload
// from a file or from standard input, and answers on standard output.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include <nss.h>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/memory.h"
#include "virga/base/version.h"
#include "virga/channel/open_channel.h"
#include "virga/function/invocations.h"
#include "virga/function/run_task.h"

namespace {

constexpr std::string_view kHelp = R"(virga-function: the function of Virga

usage: virga-function                  as the custom runtime of AWS Lambda, under the name bootstrap
       virga-function PAYLOAD.json     one payload from a file
       virga-function -                one payload from standard input

Does what a payload says (train as a worker of a run, or evaluate one of its snapshots) and answers in JSON: as a custom
runtime to the platform, else with one line on standard output. It is started by 'virga train' or by the platform; nobody
needs to start it by hand.

  --help, --version

AWS_LAMBDA_RUNTIME_API   HOST:PORT of the platform, which sets it
VIRGA_CHANNEL_TOKEN      opens the run's channel, where it wants a token
VIRGA_DATA_TOKEN         ID:SECRET or ID:SECRET:SESSION for data and runs at S3; else credentials are found as the AWS
                         tools do
SSL_CERT_FILE, SSL_CERT_DIR, AWS_CA_BUNDLE
                         whom TLS believes, unless the job says it, in place of this system's authorities
)";

void print(std::FILE* to, std::string_view text) {
  static_cast<void>(std::fwrite(text.data(), 1, text.size(), to));
  static_cast<void>(std::fflush(to));
}

void log_line(std::string_view text) {
  std::string line(text);
  std::ranges::replace(line, '\n', ' ');
  print(stderr, line + "\n");
}

/// The value of an environment variable, "" if it is not set.
std::string variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): there is one thread
  return value == nullptr ? "" : value;
}

std::string read_standard_input() {
  std::string text;
  char buffer[4096];
  // One byte more than is allowed tells that it is too much.
  while (text.size() <= virga::kMostPayloadBytes) {
    const auto count = std::fread(buffer, 1, sizeof(buffer), stdin);
    if (count == 0) break;
    text.append(buffer, count);
  }
  return text;
}

std::string read_payload(const std::string& source) {
  if (source == "-") return read_standard_input();
  const auto bytes = virga::read_file(source, virga::kMostPayloadBytes);
  return std::string(virga::as_text(bytes));
}

/// Host names come from /etc/hosts and DNS, which are in this program, whatever else /etc/nsswitch.conf names: those
/// modules are shared libraries that belong to the system's glibc, not to the one that is linked here.
void look_up_hosts_by_ourselves() { static_cast<void>(::__nss_configure_lookup("hosts", "files dns")); }

/// What the driver has sent along goes before what the platform gives.
void take_data_credentials() {
  const auto token = variable("VIRGA_DATA_TOKEN");
  if (token.empty()) return;
  const auto credentials = virga::environment_of_token(token);
  for (const auto* name : {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}) {
    const auto value = credentials(name);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread
    static_cast<void>(value ? ::setenv(name, value->c_str(), 1) : ::unsetenv(name));
  }
}

int answer_platform(const std::string& platform_address, const std::string& token) {
  try {
    virga::RuntimeApi platform(platform_address);
    virga::ProcessUsage charged;
    bool is_warm = false;
    const virga::FunctionParts parts = {.task =
                                            [&](const virga::Payload& payload) {
                                              if (std::exchange(is_warm, true)) virga::forget_peak_memory();
                                              auto answer = virga::run_task(payload, token, charged, log_line);
                                              charged.cpu_seconds += answer.cpu_seconds;
                                              return answer;
                                            },
                                        .log = log_line};
    return virga::answer_invocations(platform, parts) ? 0 : 1;
  } catch (const virga::Error& error) {
    log_line(std::string(error.what()) + "; " + error.remedy());
    return 1;
  }
}

int answer_one_payload(const std::string& source, const std::string& token) {
  virga::Answer answer;
  try {
    answer = virga::run_task(virga::decode_payload(read_payload(source)), token, {}, log_line);
  } catch (const virga::Error& error) {
    answer = {.end = "error",
              .error_kind = std::string(virga::to_string(error.kind())),
              .message = error.what(),
              .remedy = error.remedy()};
  }
  virga::crash_point("before_answer");
  print(stdout, virga::encode_answer(answer) + "\n");
  virga::crash_point("after_answer");
  return answer.end == "error" ? 1 : 0;
}

/// The name under which AWS Lambda starts a custom runtime.
bool is_bootstrap(std::string_view program) { return program == "bootstrap" || program.ends_with("/bootstrap"); }

/// Nobody says what to do.
int refuse_to_start(std::string_view program) {
  if (is_bootstrap(program)) {
    log_line(
        "bootstrap: AWS_LAMBDA_RUNTIME_API is not set: this program is started by AWS Lambda, or by what speaks its "
        "Runtime API; to try it by hand, give it a payload: bootstrap PAYLOAD.json");
  } else {
    print(stderr, kHelp);
  }
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view argument = argc == 2 ? argv[1] : "";
  if (argument == "--help" || argument == "-h") {
    print(stdout, kHelp);
    return 0;
  }
  if (argument == "--version") {
    print(stdout, virga::created_by() + "\n");
    return 0;
  }
  const std::string_view program = argc > 0 ? argv[0] : "";
  const auto platform = variable("AWS_LAMBDA_RUNTIME_API");
  // A container image's command comes as an argument: the name of a handler, of which there is but one.
  const bool serves = !platform.empty() && (argc <= 1 || is_bootstrap(program));
  if (!serves && (argument.empty() || (argument.size() > 1 && argument[0] == '-'))) return refuse_to_start(program);
  virga::arm_crash_points();
  virga::keep_freed_memory();
  look_up_hosts_by_ourselves();
  take_data_credentials();
  const auto token = variable("VIRGA_CHANNEL_TOKEN");
  return serves ? answer_platform(platform, token) : answer_one_payload(std::string(argument), token);
}
