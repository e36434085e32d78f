#include "virga/net/aws_profile.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/file.h"

namespace virga {
namespace {

constexpr std::uint64_t kMostFileBytes = std::uint64_t{1} << 20;

bool is_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\r'; }

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

/// Up to a '#' or ';' that begins a word.
std::string_view without_comment(std::string_view text) noexcept {
  for (std::size_t i = 1; i < text.size(); ++i) {
    if ((text[i] == '#' || text[i] == ';') && is_space(text[i - 1])) return trim(text.substr(0, i));
  }
  return text;
}

std::string in_case(std::string_view text, int (*convert)(int)) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [&](char c) { return static_cast<char>(convert(static_cast<unsigned char>(c))); });
  return result;
}

/// Reads line by line; which section and which nested block a line belongs to is what goes before.
class SectionReader {
 public:
  explicit SectionReader(const std::string& what) : what_(what) {}

  void line(std::string_view text) {
    ++number_;
    const bool is_indented = !text.empty() && is_space(text.front());
    text = trim(text);
    if (text.empty() || text.front() == '#' || text.front() == ';') return;
    if (text.front() == '[' && !is_indented) return header(text);
    if (section_ == nullptr) refuse("it stands before the first [section]");
    const auto equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0) refuse("it is neither [section] nor key = value");
    auto key = in_case(trim(text.substr(0, equals)), std::tolower);
    const auto value = without_comment(trim(text.substr(equals + 1)));
    if (!is_indented) block_ = value.empty() ? key : std::string();
    if (is_indented && !block_.empty()) key = block_ + "." + key;
    (*section_)[key] = value;
  }

  [[nodiscard]] AwsSections release() { return std::move(sections_); }

 private:
  void header(std::string_view text) {
    text = without_comment(text);
    if (text.size() < 3 || text.back() != ']') refuse("a [section] does not end");
    section_ = &sections_[std::string(trim(text.substr(1, text.size() - 2)))];
    block_.clear();
  }

  [[noreturn]] void refuse(std::string_view why) const {
    throw Error(ErrorKind::kBadData, fmt::format("{}: line {}: {}", what_, number_, why),
                "mend the file, or make it anew with 'aws configure'");
  }

  const std::string& what_;
  AwsSections sections_;
  std::map<std::string, std::string>* section_ = nullptr;
  std::string block_;  // the key of a nested block, which follows it indented
  std::size_t number_ = 0;
};

std::string value_of(const Environment& environment, const std::string& name) { return environment(name).value_or(""); }

std::string file_name(const Environment& environment, const std::string& variable, const std::string& name) {
  const auto home = value_of(environment, "HOME");
  auto path = value_of(environment, variable);
  if (path.starts_with("~/") && !home.empty()) return home + path.substr(1);
  if (!path.empty()) return path;
  return home.empty() ? "" : home + "/.aws/" + name;
}

AwsSections read_sections(const std::string& path) {
  if (path.empty()) return {};
  try {
    return parse_aws_sections(as_text(read_file(path, kMostFileBytes)), path);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kNotFound) return {};
    throw;
  }
}

const std::string* find_in(const std::map<std::string, std::string>& map, const std::string& key) {
  const auto at = map.find(key);
  return at == map.end() || at->second.empty() ? nullptr : &at->second;
}

}  // namespace

AwsSections parse_aws_sections(std::string_view text, const std::string& what) {
  SectionReader reader(what);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // Windows puts it there
  while (!text.empty()) {
    const auto end = text.find('\n');
    reader.line(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return reader.release();
}

AwsProfile read_aws_profile(const Environment& environment) {
  AwsProfile profile;
  const auto asked = value_of(environment, "AWS_PROFILE");
  profile.name = asked.empty() ? "default" : asked;
  const auto credentials_file = file_name(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials");
  const auto config_file = file_name(environment, "AWS_CONFIG_FILE", "config");
  profile.where = fmt::format("{} and {}", credentials_file, config_file);
  const auto take = [&](const AwsSections& sections, const std::string& name) {
    const auto at = sections.find(name);
    if (at == sections.end()) return;
    profile.is_there = true;
    profile.settings.insert(at->second.begin(), at->second.end());
  };
  take(read_sections(credentials_file), profile.name);
  const auto config = read_sections(config_file);
  take(config, "profile " + profile.name);
  if (profile.name == "default") take(config, "default");
  if (!asked.empty() && !profile.is_there) {
    throw Error(ErrorKind::kUsage, fmt::format("AWS_PROFILE: there is no profile {} in {}", asked, profile.where),
                "name one that is there, or make it with 'aws configure --profile'");
  }
  if (const auto* services = find_in(profile.settings, "services")) {
    const auto at = config.find("services " + *services);
    if (at != config.end()) profile.services = at->second;
  }
  return profile;
}

std::optional<std::string> aws_region(const Environment& environment) {
  for (const auto* name : {"AWS_REGION", "AWS_DEFAULT_REGION"}) {
    if (auto value = value_of(environment, name); !value.empty()) return value;
  }
  const auto profile = read_aws_profile(environment);
  if (const auto* region = find_in(profile.settings, "region")) return *region;
  return {};
}

std::optional<std::string> aws_endpoint(const Environment& environment, std::string_view service) {
  if (in_case(value_of(environment, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), std::tolower) == "true") return {};
  for (const auto& name : {"AWS_ENDPOINT_URL_" + in_case(service, std::toupper), std::string("AWS_ENDPOINT_URL")}) {
    if (auto value = value_of(environment, name); !value.empty()) return value;
  }
  const auto profile = read_aws_profile(environment);
  if (const auto* url = find_in(profile.services, std::string(service) + ".endpoint_url")) return *url;
  if (const auto* url = find_in(profile.settings, "endpoint_url")) return *url;
  return {};
}

std::string aws_url(std::string_view service, std::string_view region) {
  return fmt::format("https://{}.{}.amazonaws.com{}", service, region, region.starts_with("cn-") ? ".cn" : "");
}

Endpoint parse_aws_endpoint(std::string_view text, const Environment& environment) {
  if (!text.starts_with("https:")) return parse_endpoint(text);
  auto file = value_of(environment, "AWS_CA_BUNDLE");
  if (file.empty()) {
    const auto profile = read_aws_profile(environment);
    if (const auto* bundle = find_in(profile.settings, "ca_bundle")) file = *bundle;
  }
  return parse_endpoint(text, file.empty() ? file : std::filesystem::absolute(file).string());
}

}  // namespace virga
