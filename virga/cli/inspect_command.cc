#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/cli/commands.h"
#include "virga/cli/count_flag.h"
#include "virga/cli/inspect.h"
#include "virga/storage/object_uri.h"

namespace virga {
namespace {

struct Inspect {
  std::string what;
  std::size_t rows = 0;
  std::size_t top = 10;
};

constexpr std::uint64_t kMaxBlockBytes = std::uint64_t{1} << 32;

/// The first bytes of a file, fewer if it is shorter.
std::string start_of(const std::filesystem::path& path, std::size_t count) {
  const ReadableFile file(path);
  std::string start(count, '\0');
  start.resize(file.read_at(0, std::as_writable_bytes(std::span(start))));
  return start;
}

int inspect(const Inspect& inspect, Session& session) {
  if (inspect.what.empty()) {
    throw Error(ErrorKind::kUsage, "nothing was named", "virga inspect SET, or the file of a block or a model");
  }
  if (is_s3_uri(inspect.what) && inspect.what.substr(0, inspect.what.find('?')).ends_with(".safetensors")) {
    return inspect_model(inspect.what, inspect.top, session), 0;
  }
  if (inspect.what.find("://") != std::string::npos || std::filesystem::is_directory(inspect.what)) {
    return inspect_set(inspect.what, session), 0;
  }
  const auto start = start_of(inspect.what, 9);
  if (start.starts_with("VGRP")) {
    return inspect_block(read_file(inspect.what, kMaxBlockBytes), inspect.what, inspect.rows, session), 0;
  }
  // safetensors: the length of the header, then the header, a JSON object.
  if (start.size() == 9 && start[8] == '{') return inspect_model(inspect.what, inspect.top, session), 0;
  throw Error(ErrorKind::kBadData, fmt::format("{}: neither a set nor a block nor a model", inspect.what),
              "name the folder of an imported set, one of its .blk files, or a model file");
}

}  // namespace

void add_inspect_command(Program& program) {
  auto state = std::make_shared<Inspect>();
  auto& app = program.add(
      "Data",
      {.name = "inspect",
       .arguments = "SET | BLOCK | MODEL",
       .summary = "Shows what an imported set, a block or a model holds",
       .examples = {{"virga inspect ads", "rows, classes, columns, where they came from"},
                    {"virga inspect ads/train/000000.blk --rows 3", "groups and the first rows"},
                    {"virga inspect model.safetensors --top 20", "how it was trained, and its largest weights"}}},
      [state](Session& session) { return inspect(*state, session); });
  app.add_option("WHAT", state->what, "Set, block or model");
  add_count(app, "--rows", state->rows, "Rows of a block to print: label, then feature:value, not scaled");
  add_count(app, "--top", state->top, "Largest weights of a model to list (default 10)");
}

}  // namespace virga
