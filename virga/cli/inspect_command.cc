#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/cli/commands.h"
#include "virga/cli/inspect.h"

namespace virga {
namespace {

struct Inspect {
  std::string what;
  std::size_t rows = 0;
};

constexpr std::uint64_t kMaxBlockBytes = std::uint64_t{1} << 32;

bool begins_with(const std::filesystem::path& path, std::string_view magic) {
  const ReadableFile file(path);
  std::string start(magic.size(), '\0');
  return file.read_at(0, std::as_writable_bytes(std::span(start))) == magic.size() && start == magic;
}

int inspect(const Inspect& inspect, Session& session) {
  if (inspect.what.empty()) {
    throw Error(ErrorKind::kUsage, "nothing was named", "virga inspect SET, or the file of a block");
  }
  if (inspect.what.find("://") != std::string::npos || std::filesystem::is_directory(inspect.what)) {
    return inspect_set(inspect.what, session), 0;
  }
  if (begins_with(inspect.what, "VGRP")) {
    return inspect_block(read_file(inspect.what, kMaxBlockBytes), inspect.what, inspect.rows, session), 0;
  }
  throw Error(ErrorKind::kBadData, fmt::format("{}: neither a set nor a block", inspect.what),
              "name the folder of an imported set, or one of its .blk files");
}

}  // namespace

void add_inspect_command(Program& program) {
  auto state = std::make_shared<Inspect>();
  auto& app = program.add("Data",
                          {.name = "inspect",
                           .arguments = "SET | BLOCK",
                           .summary = "Shows what an imported set or a block holds",
                           .examples = {{"virga inspect ads", "rows, classes, columns, where they came from"},
                                        {"virga inspect ads/train/000000.blk --rows 3", "groups and the first rows"}}},
                          [state](Session& session) { return inspect(*state, session); });
  app.add_option("WHAT", state->what, "Set or block");
  app.add_option("--rows", state->rows, "Rows of a block to print: label, then feature:value, not scaled")
      ->type_name("N");
}

}  // namespace virga
