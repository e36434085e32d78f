#include "virga/cli/engine_command.h"

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string_view>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/memory.h"
#include "virga/base/threads.h"
#include "virga/base/units.h"
#include "virga/cli/commands.h"
#include "virga/cli/count_flag.h"
#include "virga/cli/output.h"
#include "virga/cli/signals.h"

namespace virga {
namespace {

constexpr std::string_view kIdVariable = "VIRGA_ENGINE_ACCESS_KEY_ID";
constexpr std::string_view kSecretVariable = "VIRGA_ENGINE_SECRET_ACCESS_KEY";

[[noreturn]] void refuse(std::string_view name, const std::string& reason, std::string remedy = {}) {
  throw Error(ErrorKind::kUsage, fmt::format("{}: {}", name, reason), std::move(remedy));
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "::1" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos);
}

Address parse_tcp(const std::string& text, std::string_view flag) {
  auto address = parse_address(text);
  if (address.kind != Address::Kind::kTcp) {
    refuse(flag, text + " is no TCP address", "write tcp:127.0.0.1:PORT");
  }
  return address;
}

Address parse_listen(const std::string& text) {
  auto address = parse_tcp(text, "--listen");
  if (!is_loopback(address.host)) {
    refuse("--listen", fmt::format("{} can be reached by other machines, and requests are not encrypted", text),
           "listen at 127.0.0.1, and reach it from elsewhere through ssh -L");
  }
  return address;
}

Address parse_service(const std::string& text) {
  auto address = parse_tcp(text, "--service");
  if (address.port == 0) refuse("--service", text + " has no port", "write tcp:HOST:PORT");
  return address;
}

std::uint64_t parse_memory(const std::string& text) {
  const auto limit = memory_limit();
  if (text.empty()) return limit;
  if (text == "none") return 0;
  const auto bytes = parse_bytes(text, "--memory");
  if (bytes < std::uint64_t{128} << 20) {
    refuse("--memory", fmt::format("{} is less than the 128 MiB of the smallest function", format_bytes(bytes)));
  }
  if (limit != 0 && bytes > limit) {
    refuse("--memory", fmt::format("{} is more than the {} that there are", format_bytes(bytes), format_bytes(limit)),
           "leave some for the system and for others; none: no limit, where functions use less than they may");
  }
  return bytes;
}

std::filesystem::path existing_folder(const std::string& text, std::string_view flag) {
  std::error_code error;
  auto folder = std::filesystem::canonical(text, error);
  if (error || !std::filesystem::is_directory(folder, error)) {
    throw Error(ErrorKind::kNotFound, fmt::format("{}: there is no folder {}", flag, text),
                "make it first: functions see only what is there when they start");
  }
  return folder;
}

std::vector<std::filesystem::path> existing_folders(const std::vector<std::string>& all, std::string_view flag) {
  std::vector<std::filesystem::path> folders;
  for (const auto& text : all) folders.push_back(existing_folder(text, flag));
  return folders;
}

/// None: the engine makes new ones.
Credentials parse_credentials(const Session& session) {
  Credentials credentials{session.variable(kIdVariable), session.variable(kSecretVariable), ""};
  const bool has_id = !credentials.access_key_id.empty();
  if (has_id != !credentials.secret_access_key.empty()) {
    refuse(has_id ? kSecretVariable : kIdVariable, "is not set, but the other half of the key pair is",
           "set both, or none");
  }
  const auto is_plain = [](char c) { return c > ' ' && c < 127; };
  if (has_id && (credentials.access_key_id.size() < 4 || !std::ranges::all_of(credentials.access_key_id, [](char c) {
                   return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
                 }))) {
    refuse(kIdVariable, "is not made of at least 4 letters and digits");
  }
  if (has_id &&
      (credentials.secret_access_key.size() < 16 || !std::ranges::all_of(credentials.secret_access_key, is_plain))) {
    refuse(kSecretVariable, "has fewer than 16 characters, or some that are not visible");
  }
  return credentials;
}

nlohmann::json power(const std::string& how) { return how.empty() ? nlohmann::json(nullptr) : nlohmann::json(how); }

nlohmann::json powers_json(const SandboxPowers& powers) {
  return {{"memory", power(powers.memory)},   {"cpu", power(powers.cpu)},     {"processes", power(powers.processes)},
          {"network", power(powers.network)}, {"files", power(powers.files)}, {"pids", power(powers.pids)}};
}

std::string url_of(const Address& address) {
  const bool is_ipv6 = address.host.find(':') != std::string::npos;
  return fmt::format("http://{}{}{}:{}", is_ipv6 ? "[" : "", address.host, is_ipv6 ? "]" : "", address.port);
}

/// `own_key`: the pair is the user's, who knows its secret.
std::string greeting(const LocalEngine& engine, const LocalEngine::Options& options, bool own_key) {
  const auto url = url_of(engine.address());
  const auto secret = own_key ? fmt::format("\"${}\"", kSecretVariable) : engine.credentials().secret_access_key;
  return fmt::format(
      "# AWS Lambda's protocols at {}; code and logs in {}\n"
      "# sandbox: {}\n"
      "# To use it, in another shell:\n"
      "export AWS_ACCESS_KEY_ID={}\n"
      "export AWS_SECRET_ACCESS_KEY={}\n"
      "export AWS_DEFAULT_REGION={}\n"
      "export AWS_ENDPOINT_URL_LAMBDA={}\n"
      "# aws lambda list-functions    (before version 2.13 with: --endpoint-url {})\n"
      "# Runs until Ctrl-C.\n",
      url, options.folder.string(), describe(engine.powers()), engine.credentials().access_key_id, secret,
      engine.region(), url, url);
}

void announce(const LocalEngine& engine, const LocalEngine::Options& options, bool own_key, const Session& session) {
  if (!session.json()) return session.print(greeting(engine, options, own_key));
  session.print_json({{"address", to_string(engine.address())},
                      {"endpoint_url", url_of(engine.address())},
                      {"region", engine.region()},
                      {"access_key_id", engine.credentials().access_key_id},
                      {"secret_access_key",
                       own_key ? nlohmann::json(nullptr) : nlohmann::json(engine.credentials().secret_access_key)},
                      {"folder", options.folder.string()},
                      {"memory_bytes", options.memory_bytes},
                      {"sandbox", powers_json(engine.powers())}});
}

void wait_for(const std::stop_token& token) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  stopped.wait(lock, token, [] { return false; });
}

int run_engine(const EngineFlags& flags, Session& session) {
  const StopOnSignal signals;
  const auto options = engine_options(flags, session);
  const LocalEngine engine(options);
  announce(engine, options, !options.credentials.access_key_id.empty(), session);
  wait_for(signals.token());
  return 0;
}

}  // namespace

LocalEngine::Options engine_options(const EngineFlags& flags, const Session& session) {
  if (flags.concurrency == 0 || flags.concurrency > 10'000) {
    refuse("--concurrency", fmt::format("{} is not within 1 and 10000", flags.concurrency));
  }
  const auto idle = std::chrono::duration_cast<std::chrono::milliseconds>(parse_duration(flags.idle, "--idle"));
  if (idle.count() < 1) refuse("--idle", fmt::format("{} is less than 1ms", flags.idle));
  const auto is_word = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  if (flags.region.empty() || !std::ranges::all_of(flags.region, is_word)) {
    refuse("--region", fmt::format("'{}' is no region", flags.region), "us-east-1, for example; any will do here");
  }
  LocalEngine::Options options;
  options.listen = parse_listen(flags.listen);
  options.folder =
      std::filesystem::absolute(flags.folder.empty() ? session.home() / "engine" : std::filesystem::path(flags.folder));
  options.region = flags.region;
  options.credentials = parse_credentials(session);
  options.writable = existing_folders(flags.writable, "--writable");
  options.readable = existing_folders(flags.readable, "--readable");
  for (const auto& text : flags.services) options.services.push_back(parse_service(text));
  options.memory_bytes = parse_memory(flags.memory);
  options.cpus = usable_cores();
  options.most_concurrent = static_cast<unsigned>(flags.concurrency);
  options.idle_time = idle;
  options.doubles_events = flags.double_events;
  return options;
}

void add_engine_command(Program& program) {
  auto state = std::make_shared<EngineFlags>();
  auto& app = program.add(
      "Functions",
      {.name = "engine",
       .summary = "Runs AWS Lambda functions on this machine",
       .details =
           "Speaks the Lambda REST API to clients (aws lambda, boto3, Virga) and the Runtime API to functions of the "
           "runtimes provided.*, each in a sandbox with its memory, its share of a processor and its timeout. Prints "
           "the sandbox that is in force and the variables that clients need, and runs until Ctrl-C; then all "
           "functions "
           "have ended. docs/local-engine.md has what is covered and what differs.\n\n"
           "Only requests that are signed with its key pair are served. The pair is new at each start, unless "
           "VIRGA_ENGINE_ACCESS_KEY_ID and VIRGA_ENGINE_SECRET_ACCESS_KEY hold one. Functions themselves do not "
           "outlive "
           "the engine: create them again after a restart.",
       .examples = {{"virga engine", "at 127.0.0.1:3001"},
                    {"virga engine --service tcp:127.0.0.1:7077", "functions may reach a store of this machine"},
                    {"virga engine --listen tcp:127.0.0.1:0 --json", "at a free port, for programs"}}},
      [state](Session& session) { return run_engine(*state, session); });
  const auto option = [&app](const char* name, std::string& value, const char* text, const char* type) {
    app.add_option(name, value, text)->type_name(type);
  };
  option("--listen", state->listen, "tcp:127.0.0.1:PORT; port 0 takes a free one (default tcp:127.0.0.1:3001)",
         "ADDRESS");
  option("--folder", state->folder, "For code and logs (default: engine in VIRGA_HOME)", "FOLDER");
  option("--region", state->region, "That clients must name (default us-east-1)", "NAME");
  option("--memory", state->memory, "That functions may have together (default: all that there is); none: any",
         "BYTES");
  add_count(app, "--concurrency", state->concurrency, "Most invocations at a time (default 1000)");
  option("--idle", state->idle, "Ends an instance that had no event for that long (default 5min)", "TIME");
  app.add_option("--writable", state->writable, "Folder that functions may write to; may be given several times")
      ->type_name("FOLDER")
      ->allow_extra_args(false);
  app.add_option("--readable", state->readable, "Folder below /tmp or /run that functions may read; likewise")
      ->type_name("FOLDER")
      ->allow_extra_args(false);
  app.add_option("--service", state->services, "tcp:HOST:PORT that functions may reach, HOST an IPv4 number; likewise")
      ->type_name("ADDRESS")
      ->allow_extra_args(false);
  app.add_flag("--double-events", state->double_events, "Delivers each Event twice, as AWS may, to test functions");
}

}  // namespace virga
