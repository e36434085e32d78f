#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/driver/functions_report.h"
#include "virga/driver/run_record.h"
#include "virga/driver/run_report_html.h"

namespace {

void check_seconds(double seconds) {
  virga::check(std::isfinite(seconds) && seconds >= 0, "a time is one that a run may take");
}

}  // namespace

/// functions.json, and what a page makes of it; the page takes it for test.json, validation.json and config.json, too.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace virga;
  nlohmann::json document;
  try {
    document = parse_run_document(std::string_view(reinterpret_cast<const char*>(data), size), "functions.json");
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kCorrupt, "the kind that is promised");
    return 0;
  }
  const auto record = parse_functions_record(document);
  for (const auto& stretch : record.driver) {
    check_seconds(stretch.start_seconds);
    check_seconds(stretch.seconds);
  }
  check_seconds(record.training_start_seconds.value_or(0));
  check_seconds(record.wall_seconds.value_or(0));
  const auto page = report_html({.config = document,
                                 .test = document,
                                 .validation = document,
                                 .table = builtin_price_table(),
                                 .wall_seconds = record.wall_seconds.value_or(0),
                                 .driver = record.driver});
  check(page.find("<script") == std::string::npos, "texts are shown as texts");
  return 0;
}
