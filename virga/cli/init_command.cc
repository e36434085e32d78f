#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/cli/commands.h"
#include "virga/job/job_docs.h"

namespace virga {
namespace {

struct Init {
  std::string data = "train.csv";
  std::string file = "job.toml";
};

int init(const Init& init, Session& session) {
  if (std::filesystem::exists(init.file)) {
    throw Error(ErrorKind::kConflict, fmt::format("{} is there already", init.file),
                "choose another name: virga init --to FILE");
  }
  write_file_atomically(init.file, as_bytes(job_template(init.data)));
  if (session.json()) return session.print_json({{"job_file", init.file}}), 0;
  session.note(fmt::format("Wrote {0}. Next: edit it, then virga train {0}", init.file));
  return 0;
}

}  // namespace

void add_init_command(Program& program) {
  auto state = std::make_shared<Init>();
  auto& app = program.add(
      "Setting up",
      {.name = "init",
       .arguments = "[DATA]",
       .summary = "Writes a commented job file to start from",
       .details = "Every option stands in it at its default, commented out. An existing file is never overwritten.",
       .examples = {{"virga init train.csv", "job.toml, which trains on train.csv"},
                    {"virga init clicks.csv --to first.toml", "another name"}}},
      [state](Session& session) { return init(*state, session); });
  app.add_option("DATA", state->data, "Training data");
  app.add_option("--to", state->file, "Job file to write (default job.toml)")->type_name("FILE");
}

}  // namespace virga
