#include "virga/job/settings.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/units.h"
#include "virga/channel/direct_channel.h"
#include "virga/channel/emulated_channel.h"
#include "virga/channel/shape_text.h"

namespace virga {
namespace {

/// Variables that are no options: where runs lie, and a secret, which no job file may hold.
bool is_of_the_program(const std::string& name) { return name == "VIRGA_HOME" || name == "VIRGA_CHANNEL_TOKEN"; }

/// Does a VIRGA_* variable look like an option's? Others (a build's, a test's) are nobody's business.
bool looks_like_option(const std::string& name, const std::vector<std::string>& known) {
  const auto in_section = std::ranges::any_of(job_sections(), [&](const Section& section) {
    auto prefix = option_variable({.section = section.name, .key = ""});
    return !section.name.empty() && name.starts_with(prefix);
  });
  return in_section || !nearest_word(name, known).empty();
}

void refuse(const Settings& settings, const char* section, const char* key, const std::string& reason,
            const std::string& remedy) {
  const auto& setting = settings.get(section, key);
  const auto origin = setting.origin.empty() ? std::string("default") : setting.origin;
  throw Error(ErrorKind::kUsage, fmt::format("{}: {}", origin, reason), remedy);
}

void check_penalty(const Settings& settings, const Job& job) {
  const auto& optimizer = job.optimizer.name;
  if (job.model.l1 > 0 && (optimizer == "momentum" || optimizer == "nesterov")) {
    refuse(settings, "model", "l1", fmt::format("model.l1 cannot be combined with optimizer {}", optimizer),
           "use optimizer adagrad, sgd or adam, or model.l2 instead");
  }
}

void check_class_weight(const Settings& settings, const Job& job) {
  const bool weighted = job.model.class_weight_balanced || !job.model.class_weight.empty();
  if (weighted && job.model.kind == "least-squares") {
    refuse(settings, "model", "class_weight",
           "model.class_weight has no meaning for least-squares, which has no classes",
           "leave it out, or weigh rows by a weight column (data.weight)");
  }
}

void check_faults(const Settings& settings, const Job& job) {
  if (job.exchange.faults.empty()) return;
  static_cast<void>(parse_shape(job.exchange.faults, settings.get("exchange", "faults").origin + ": exchange.faults"));
  if (job.exchange.protocol == "asp") {
    refuse(settings, "exchange", "faults", "exchange.faults are those of messages, and protocol asp sends none",
           "leave it out, or use protocol bsp or ssp");
  }
}

void check_columns(const Settings& settings, const Job& job) {
  std::map<std::string, std::string> role;
  const auto take = [&](const std::string& column, const char* key) {
    const auto [known, added] = role.emplace(column, key);
    if (!added) {
      refuse(settings, "data", key, fmt::format("column '{}' is both data.{} and data.{}", column, known->second, key),
             "name it once");
    }
  };
  if (job.data.label) take(*job.data.label, "label");
  if (job.data.weight) take(*job.data.weight, "weight");
  for (const auto& column : job.data.numeric) take(column, "numeric");
  for (const auto& column : job.data.categorical) take(column, "categorical");
  for (const auto& column : job.data.ignore) take(column, "ignore");
}

/// What a channel means that is only named, and a set of profiles.
void resolve_service(const Settings& settings, Job& job, std::vector<std::string>& warnings) {
  auto& exchange = job.exchange;
  const auto set = exchange.emulate && is_profile_set(*exchange.emulate) ? exchange.emulate : std::nullopt;
  if (set) exchange.emulate.reset();
  if (job.functions.engine == "single") return;
  if (job.functions.engine == "vm") {
    if (exchange.channel == "auto") exchange.channel = "direct";
    if (set && is_direct_uri(exchange.channel)) {
      const auto* network = profile_in_set(*set, job.functions.instance);
      if (network == nullptr) {
        refuse(settings, "exchange", "emulate",
               fmt::format("exchange.emulate: {} has no figures of the network between machines of type {}", *set,
                           job.functions.instance),
               "leave it out, or take a type that it has figures of (--instance c5.large)");
      }
      exchange.emulate = std::string(network->name);
      return;
    }
  }
  struct Service {
    std::string_view name;
    const std::optional<std::string>& uri;
  };
  const Service services[] = {{"s3", job.services.s3},
                              {"redis", job.services.redis},
                              {"memcached", job.services.memcached},
                              {"dynamodb", job.services.dynamodb}};
  const auto* named = std::ranges::find(services, exchange.channel, &Service::name);
  if (named == std::end(services)) {
    if (!set) return;
    warnings.push_back(fmt::format(
        "{}: exchange.emulate {} has no effect with channel {}: it stands for services that are only named, as redis",
        settings.get("exchange", "emulate").origin, *set, exchange.channel));
    return;
  }
  const std::string name(named->name);
  if (set) {
    const auto* profile = profile_in_set(*set, name);
    if (profile == nullptr) {
      refuse(settings, "exchange", "emulate", fmt::format("exchange.emulate: {} has no figures of {}", *set, name),
             fmt::format("say where a real one is (--{})", name));
    }
    exchange.emulate = std::string(profile->name);
    exchange.channel = "ps";
  } else if (named->uri) {
    exchange.channel = *named->uri;
  } else {
    refuse(settings, "exchange", "channel", fmt::format("exchange.channel: which {} is not said", name),
           fmt::format("give its URI (--{} {}), or emulate it (--emulate aws-2021)", name,
                       choice_text(find_option("services", name)->choices.front())));
  }
}

/// What a function has and a virtual machine has not. A config.toml may say it for other jobs.
void check_machines(const Settings& settings, const Job& job) {
  if (job.functions.engine != "vm") return;
  const auto said = [&](const char* key) { return settings.get("functions", key).source > Source::kConfig; };
  if (said("memory") && job.functions.memory_bytes) {
    refuse(settings, "functions", "memory",
           "functions.memory: engine vm has no limit of its own for a worker: it has the memory of its machine",
           "leave it out, and say how large machines are (--instance)");
  }
  if (said("lifetime") && job.functions.lifetime != Job().functions.lifetime) {
    refuse(settings, "functions", "lifetime",
           "functions.lifetime: the workers of engine vm live as long as the run, not for a time of their own",
           "leave it out, or bound the run (--seconds, --budget)");
  }
  if (said("rounds_per_invocation") && job.functions.rounds_per_invocation) {
    refuse(settings, "functions", "rounds_per_invocation",
           "functions.rounds_per_invocation: the workers of engine vm live as long as the run",
           "leave it out, or use engine local");
  }
}

/// Options that another one leaves without effect: not wrong (a config.toml may hold them for other jobs), but told.
void warn_of_idle(const Settings& settings, const Job& job, std::vector<std::string>& warnings) {
  const auto& name = job.optimizer.name;
  const auto& engine = job.functions.engine;
  const bool has_velocity = name == "momentum" || name == "nesterov";
  const bool has_epsilon = name == "adagrad" || name == "adam";
  const std::tuple<const char*, const char*, bool, std::string> uses[] = {
      {"optimizer", "momentum", has_velocity, "optimizer " + name},
      {"optimizer", "beta1", name == "adam", "optimizer " + name},
      {"optimizer", "beta2", name == "adam", "optimizer " + name},
      {"optimizer", "epsilon", has_epsilon, "optimizer " + name},
      {"data", "validation_fraction", !job.data.validation, "data.validation"},
      {"functions", "memory", engine != "single" && engine != "vm", "engine " + engine},
      {"functions", "lifetime", engine != "single" && engine != "vm", "engine " + engine},
      {"functions", "rounds_per_invocation", engine != "single" && engine != "vm", "engine " + engine},
      {"functions", "instance", engine == "vm", "engine " + engine},
      {"functions", "prices", engine != "single", "engine single"},
      {"stop", "usd", engine != "single", "engine single"},
      {"exchange", "staleness", job.exchange.protocol == "ssp", "protocol " + job.exchange.protocol},
      {"exchange", "pattern", engine != "single", "engine single"},
      {"exchange", "channel", engine != "single", "engine single"},
      {"exchange", "emulate", engine != "single", "engine single"},
      {"exchange", "faults", engine != "single", "engine single"},
  };
  for (const auto& [section, key, used, because] : uses) {
    const auto& setting = settings.get(section, key);
    if (used || setting.source == Source::kDefault) continue;
    warnings.push_back(fmt::format("{}: {}.{} has no effect with {}", setting.origin, section, key, because));
  }
}

}  // namespace

std::string_view to_string(Source source) noexcept {
  switch (source) {
    case Source::kDefault:
      return "default";
    case Source::kConfig:
      return "config";
    case Source::kJobFile:
      return "job_file";
    case Source::kVariable:
      return "variable";
    case Source::kFlag:
      return "flag";
  }
  return "default";
}

Settings::Settings() {
  for (const auto& option : job_options()) {
    if (option.store == nullptr) continue;
    const bool nothing = option.fallback.empty() && option.type != OptionType::kTextList;
    settings_.push_back(
        {.option = &option, .value = nothing ? Value() : parse_value(option, option.fallback, "default")});
  }
}

void Settings::set(std::vector<Setting> settings) {
  for (auto& setting : settings) {
    const auto known = std::ranges::find(settings_, setting.option, &Setting::option);
    check(known != settings_.end(), "a setting of an option that is not built");
    if (setting.source >= known->source) *known = std::move(setting);
  }
}

const Setting& Settings::get(std::string_view section, std::string_view key) const {
  const auto known = std::ranges::find(settings_, find_option(section, key), &Setting::option);
  check(known != settings_.end(), "no such option");
  return *known;
}

std::vector<Setting> settings_from_environment(std::span<const std::pair<std::string, std::string>> environment,
                                               std::vector<std::string>& warnings) {
  std::map<std::string, const Option*> by_variable;
  std::vector<std::string> known{"VIRGA_HOME", "VIRGA_CHANNEL_TOKEN"};
  for (const auto& option : job_options()) {
    by_variable[option_variable(option)] = &option;
    known.push_back(option_variable(option));
  }
  std::vector<Setting> settings;
  for (const auto& [name, text] : environment) {
    if (!name.starts_with("VIRGA_") || is_of_the_program(name) || text.empty()) continue;
    if (const auto found = by_variable.find(name); found != by_variable.end()) {
      settings.push_back({.option = found->second,
                          .value = parse_value(*found->second, text, name),
                          .source = Source::kVariable,
                          .origin = name});
    } else if (looks_like_option(name, known)) {
      const auto near = nearest_word(name, known);
      warnings.push_back(fmt::format("variable {} is not an option{}", name,
                                     near.empty() ? std::string() : fmt::format("; did you mean {}?", near)));
    }
  }
  return settings;
}

Job make_job(const Settings& settings, std::vector<std::string>& warnings) {
  Job job;
  for (const auto& setting : settings.all()) setting.option->store(job, setting.value);
  check_penalty(settings, job);
  check_class_weight(settings, job);
  check_faults(settings, job);
  check_columns(settings, job);
  check_machines(settings, job);
  resolve_service(settings, job, warnings);
  warn_of_idle(settings, job, warnings);
  return job;
}

std::string settings_text(const Settings& settings, const std::filesystem::path& folder) {
  auto list = nlohmann::json::array();
  for (const auto& setting : settings.all()) {
    auto text = value_text(*setting.option, setting.value);
    const bool is_local = text.find("://") == std::string::npos;
    if (is_path(*setting.option, text) && !text.empty() && is_local) text = (folder / text).string();
    list.push_back({{"section", setting.option->section},
                    {"key", setting.option->key},
                    {"text", text},
                    {"source", static_cast<int>(setting.source)},
                    {"origin", setting.origin}});
  }
  return list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Settings settings_from_text(std::string_view text) {
  Settings settings;
  try {
    std::vector<Setting> given;
    for (const auto& entry : nlohmann::json::parse(text)) {
      const auto* option = find_option(entry.at("section").get<std::string>(), entry.at("key").get<std::string>());
      const auto source = entry.at("source").get<int>();
      if (option == nullptr || option->store == nullptr || source < 0 || source > static_cast<int>(Source::kFlag)) {
        throw Error(ErrorKind::kCorrupt, "the settings of a run have an option that this program does not know",
                    "resume with the build that started the run");
      }
      const auto origin = entry.at("origin").get<std::string>();
      const auto value = entry.at("text").get<std::string>();
      // What a default leaves open has no text.
      const bool open = value.empty() && static_cast<Source>(source) == Source::kDefault;
      if (open) continue;
      given.push_back({option, parse_value(*option, value, origin), static_cast<Source>(source), origin});
    }
    settings.set(std::move(given));
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorKind::kCorrupt, fmt::format("the settings of a run cannot be read: {}", error.what()));
  }
  return settings;
}

nlohmann::json settings_json(const Settings& settings) {
  auto json = nlohmann::json::object();
  for (const auto& setting : settings.all()) {
    nlohmann::json entry{{"value", value_json(*setting.option, setting.value)}, {"source", to_string(setting.source)}};
    if (!setting.origin.empty()) entry["origin"] = setting.origin;
    const auto& option = *setting.option;
    auto& place = option.section.empty() ? json : json[std::string(option.section)];
    place[std::string(option.key)] = std::move(entry);
  }
  return json;
}

}  // namespace virga
