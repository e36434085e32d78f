#pragma once

#include "virga/cli/program.h"

namespace virga {

// Each adds one command, or a few that belong together, in a file of its own: show_command.cc has add_show_command.
void add_import_command(Program& program);
void add_generate_command(Program& program);
void add_evaluate_command(Program& program);
void add_predict_command(Program& program);
void add_train_command(Program& program);
void add_compare_command(Program& program);
void add_presets_command(Program& program);
void add_resume_command(Program& program);
void add_inspect_command(Program& program);
void add_init_command(Program& program);
void add_runs_command(Program& program);
void add_show_command(Program& program);
void add_logs_command(Program& program);
void add_stop_command(Program& program);
void add_engine_command(Program& program);
void add_remove_command(Program& program);
void add_config_commands(Program& program);
void add_doctor_command(Program& program);
void add_completion_command(Program& program);

/// All commands, in the order of the top page.
void add_all_commands(Program& program);

}  // namespace virga
