#include "virga/cli/commands.h"

namespace virga {

void add_all_commands(Program& program) {
  add_train_command(program);
  add_compare_command(program);
  add_presets_command(program);
  add_resume_command(program);
  add_evaluate_command(program);
  add_predict_command(program);
  add_import_command(program);
  add_generate_command(program);
  add_inspect_command(program);
  add_init_command(program);
  add_runs_command(program);
  add_show_command(program);
  add_logs_command(program);
  add_stop_command(program);
  add_engine_command(program);
  add_remove_command(program);
  add_config_commands(program);
  add_doctor_command(program);
  add_completion_command(program);
}

}  // namespace virga
