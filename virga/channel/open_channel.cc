#include "virga/channel/open_channel.h"

#include <filesystem>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/channel/directory_channel.h"
#include "virga/channel/ps_channel.h"

namespace virga {

std::unique_ptr<Channel> open_channel(std::string_view uri, std::string_view job, const std::string& token) {
  constexpr std::string_view kDirectory = "directory:";
  if (uri.starts_with(kDirectory) && uri.size() > kDirectory.size()) {
    return std::make_unique<DirectoryChannel>(std::filesystem::path(uri.substr(kDirectory.size())) / job);
  }
  constexpr std::string_view kPs = "ps:";
  if (uri.starts_with(kPs)) {
    return std::make_unique<PsChannel>(std::make_shared<PsClient>(
        PsClientOptions{.address = std::string(uri.substr(kPs.size())), .token = token, .job = std::string(job)}));
  }
  throw Error(uri.find(':') == std::string_view::npos ? ErrorKind::kUsage : ErrorKind::kUnsupported,
              fmt::format("there is no channel \"{}\"", uri), "use directory:PATH or ps:ADDRESS");
}

}  // namespace virga
