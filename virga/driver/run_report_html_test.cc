#include "virga/driver/run_report_html.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/driver/run_report_html_parts.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

/// What is not well-formed in a page; empty if nothing is. Stricter than browsers are: each element is closed, each
/// attribute quoted, each & a reference, and no < stands in a text.
std::string fault(std::string_view page) {
  std::vector<std::string> open;
  const auto near = [&](std::size_t at) { return std::string(page.substr(at, 60)); };
  for (std::size_t at = 0; at < page.size();) {
    if (page[at] == '&') {
      const auto end = page.find(';', at);
      const auto name = page.substr(at + 1, end == std::string_view::npos ? 0 : end - at - 1);
      if (name != "amp" && name != "lt" && name != "gt" && name != "quot" && name != "#39") return "& " + near(at);
      at = end + 1;
    } else if (page[at] == '>') {
      return "> " + near(at);
    } else if (page[at] != '<') {
      ++at;
    } else if (page.substr(at).starts_with("<!DOCTYPE html>") && at == 0) {
      at = page.find('>') + 1;
    } else if (page.substr(at).starts_with("</")) {
      const auto end = page.find('>', at);
      const auto name = page.substr(at + 2, end - at - 2);
      if (open.empty() || open.back() != name) return "closes what is not open: " + near(at);
      open.pop_back();
      at = end + 1;
    } else {
      auto pos = at + 1;
      while (pos < page.size() && (std::isalnum(static_cast<unsigned char>(page[pos])) != 0)) ++pos;
      const auto name = std::string(page.substr(at + 1, pos - at - 1));
      if (name.empty()) return "< " + near(at);
      while (pos < page.size() && page[pos] == ' ') {
        const auto equals = page.find("=\"", pos);
        const auto quote = equals == std::string_view::npos ? equals : page.find('"', equals + 2);
        if (quote == std::string_view::npos) return "attribute " + near(pos);
        for (const char c : page.substr(pos + 1, equals - pos - 1)) {
          if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-') return "attribute " + near(pos);
        }
        if (page.substr(equals + 2, quote - equals - 2).find_first_of("<>") != std::string_view::npos)
          return "value " + near(pos);
        pos = quote + 1;
      }
      const bool closed = page.substr(pos).starts_with("/>");
      if (!closed && page.substr(pos, 1) != ">") return "tag " + near(at);
      at = pos + (closed ? 2 : 1);
      if (name == "style") {
        at = page.find("</style>", at) + 8;
      } else if (!closed && name != "meta") {
        open.push_back(name);
      }
    }
  }
  return open.empty() ? "" : "never closed: " + open.back();
}

TEST(HtmlCheckTest, FindsFaults) {
  EXPECT_EQ(fault("<!DOCTYPE html>\n<p class=\"a\">x &lt; y<br/></p>"), "");
  for (const auto* wrong : {"<p>", "</p>", "<p>a & b</p>", "<p class=a></p>", "<p>a < b</p>", "<p>a > b</p>",
                            "<b><i></b></i>", "<p a=\"<\"></p>", "<p onload></p>"}) {
    EXPECT_NE(fault(wrong), "") << wrong;
  }
}

InvocationRecord worker(WorkerId id, Generation generation, double start, double seconds) {
  InvocationRecord record{.task = "worker",
                          .worker = id,
                          .generation = generation,
                          .end = "continue",
                          .start_seconds = start,
                          .seconds = seconds,
                          .memory_bytes = 708'000'000,
                          .peak_memory_bytes = 61'000'000,
                          .cpu_seconds = 0.3 * seconds,
                          .rounds = 100};
  record.init = generation == 1 ? 12ms : 0ms;
  record.duration = std::chrono::microseconds(std::llround(seconds * 0.98e6));
  const auto add = [&](WorkPhase phase, double share) {
    record.phases.add(phase, std::chrono::nanoseconds(std::llround(seconds * share * 1e9)));
  };
  add(WorkPhase::kStart, 0.05);
  add(WorkPhase::kData, 0.05);
  add(WorkPhase::kCompute, 0.45);
  add(WorkPhase::kSend, 0.1);
  add(WorkPhase::kWait, 0.25);
  add(WorkPhase::kKeep, 0.05);
  return record;
}

ReportInput input() {
  ReportInput input{.table = builtin_price_table()};
  input.run = {.id = "20261121-051822-a3f9",
               .folder = "/home/a/.virga/runs/20261121-051822-a3f9",
               .name = "first try",
               .data = "clicks/",
               .model = "logistic",
               .started_at = "2026-11-21T05:18:22Z",
               .state = RunState::kFinished,
               .reason = "patience",
               .history = {},
               .best = 7};
  for (std::uint32_t epoch = 1; epoch <= 8; ++epoch) {
    input.run.history.push_back({.epoch = epoch,
                                 .round = epoch * std::uint64_t{50},
                                 .train_loss = 0.31 + 0.2 / epoch,
                                 .validation_loss = 0.33 + 0.18 / epoch,
                                 .learning_rate = 0.1,
                                 .examples = epoch * std::uint64_t{1000},
                                 .seconds = epoch * 1.1});
  }
  for (WorkerId id = 0; id < 4; ++id) {
    input.ledger.invocations.push_back(worker(id, 1, 0.3, 5.2 + 0.05 * id));
    input.ledger.invocations.push_back(worker(id, 2, 5.6, 4));
  }
  auto& crashed = input.ledger.invocations[2];
  crashed.end = "crashed";
  crashed.said = "terminate called after throwing\n  what(): no <memory> & no \"hope\"";
  auto evaluation = worker(0, 1, 9, 0.8);
  evaluation.task = "evaluate";
  evaluation.end = "evaluated";
  input.ledger.invocations.push_back(evaluation);
  input.ledger.services = {{.service = "data-store", .start_seconds = 0.1, .seconds = 9.8},
                           {.service = "object-store", .seconds = 10, .writes = 120, .reads = 400}};
  input.wall_seconds = 10;
  input.driver = {{"services", 0, 0.3}};
  input.base_loss = 0.5465;
  input.test = {{"rows", 1000},
                {"loss", 0.3},
                {"accuracy", 0.9},
                {"classes", {{{"class", "<=50K"}}, {{"class", ">50K"}}}},
                {"confusion_matrix", {{700, 60}, {40, 200}}},
                {"calibration", json::array()}};
  for (int i = 0; i < 10; ++i) {
    const auto empty = i == 4;
    input.test["calibration"].push_back({{"weight", empty ? 0 : 100},
                                         {"predicted", empty ? json(nullptr) : json(0.05 + 0.1 * i)},
                                         {"observed", empty ? json(nullptr) : json(0.04 + 0.1 * i)}});
  }
  input.config = {
      {"settings",
       {{"seed", {{"value", 7}, {"source", "flag"}}}, {"model", {{"l2", {{"value", 1e-5}, {"source", "default"}}}}}}},
      {"resolved", {{"model.kind", "logistic"}}}};
  return input;
}

TEST(ReportHtmlTest, IsWellFormedAndStandsAlone) {
  const auto page = report_html(input());
  EXPECT_EQ(fault(page), "");
  for (const auto* outside : {"http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link", "<iframe"}) {
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  }
  EXPECT_THAT(page, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_THAT(page, Not(testing::ContainsRegex("[^a-z](nan|inf)[^a-z]")));
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets it
  if (const auto* path = std::getenv("VIRGA_KEEP_REPORT")) std::ofstream(path) << page;  // to look at
}

TEST(ReportHtmlTest, HasWhatTheRunHas) {
  const auto page = report_html(input());
  EXPECT_THAT(page, HasSubstr("<h1>first try</h1>"));
  for (const auto* title : {"Loss over time", "Loss over epochs", "Loss over dollars"}) {
    EXPECT_THAT(page, HasSubstr(title));
  }
  EXPECT_THAT(page, HasSubstr("base rate 0.5465"));
  EXPECT_THAT(page, HasSubstr("worker 3, generation 2: 4.00 s from 5.60 s, warm or not said"));
  EXPECT_THAT(page, HasSubstr("on AWS Lambda (prices of 2025-08-01)."));
  EXPECT_THAT(page, HasSubstr("<td>object-store</td><td>writes</td><td>120</td>"));
  EXPECT_THAT(page, HasSubstr("what(): no &lt;memory&gt; &amp; no &quot;hope&quot;"));
  EXPECT_THAT(page, HasSubstr("<th>&lt;=50K</th><td style=\"--share:0.921\">700</td>"));
  EXPECT_THAT(page, HasSubstr("On the test data"));
  EXPECT_THAT(page, HasSubstr("<figcaption>Calibration</figcaption>"));
  EXPECT_THAT(page, HasSubstr("<td>0.2 to 0.3</td><td>100</td><td>0.2500</td><td>0.2400</td>"));
  EXPECT_THAT(page, Not(HasSubstr("<td>0.4 to 0.5</td>"))) << "nobody was given such a probability";
  EXPECT_THAT(page, Not(HasSubstr("On the validation data")));
  auto without_test = input();
  without_test.validation = std::exchange(without_test.test, nullptr);
  EXPECT_THAT(report_html(without_test), testing::AllOf(HasSubstr("On the validation data"), HasSubstr("Calibration")));
  EXPECT_THAT(page, HasSubstr("<td>model.l2</td>"));
  EXPECT_THAT(page, HasSubstr("<td>seed</td><td>7</td><td>flag</td>"));
}

TEST(ReportHtmlTest, ShowsHostileTextsAsTexts) {
  const std::string hostile = "</title></style><script>alert(1)</script>\"'&amp;\x01\xFF<img src=x onerror=alert(1)>";
  auto one = input();
  one.run.name = one.run.id = one.run.data = one.run.model = one.run.reason = one.run.message = one.run.started_at =
      hostile;
  for (auto& record : one.ledger.invocations) record.said = record.end = hostile;
  one.table.name = one.table.source = one.table.date = hostile;
  one.table.services[hostile] = {};
  one.ledger.services.push_back({.service = hostile, .seconds = 1, .writes = 1});
  one.test["classes"][0]["class"] = "<b onclick=x>\"'";
  one.test["classes"][1]["class"] = {{"<i>", 1}};
  one.config["settings"]["<u>"] = {{"value", "<script>"}, {"source", "<script>"}};
  one.config["resolved"]["<script>"] = "<script>";
  const auto page = report_html(one);
  EXPECT_EQ(fault(page), "");
  for (const auto* injected : {"<script", "<img", "<b ", "<i>", "<u>", "\x01", "\xFF"}) {
    EXPECT_THAT(page, Not(HasSubstr(injected)));
  }
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)"));
}

TEST(ReportHtmlTest, LeavesOutWhatJsonDoesNotHoldAsItShould) {
  for (const auto& wrong :
       {json(nullptr), json(7), json("text"), json::array({1, 2}), json::object({{"classes", 3}})}) {
    auto one = input();
    one.test = wrong;
    one.config = wrong;
    EXPECT_EQ(fault(report_html(one)), "") << wrong;
    one.test = {{"classes", wrong},
                {"confusion_matrix", wrong},
                {"largest_confusions", wrong},
                {"loss", wrong},
                {"calibration", wrong}};
    one.validation = {{"calibration", json(10, wrong)}};
    one.config = {{"settings", wrong}, {"resolved", wrong}};
    EXPECT_EQ(fault(report_html(one)), "") << wrong;
  }
  auto one = input();
  one.test["confusion_matrix"] = {{1, 2}, {3}};
  EXPECT_THAT(report_html(one), Not(HasSubstr("--share:0")));
}

TEST(ReportHtmlTest, IsThereForARunWithNothing) {
  const auto page = report_html({.table = builtin_price_table()});
  EXPECT_EQ(fault(page), "");
  EXPECT_THAT(page, HasSubstr("No epoch has been completed."));
}

TEST(ReportHtmlTest, SurvivesExtremeFigures) {
  constexpr double kHuge = std::numeric_limits<double>::max();
  auto one = input();
  one.run.history[0].train_loss = kHuge;
  one.run.history[1].train_loss = -kHuge;
  one.run.history[2].validation_loss = std::nullopt;
  one.run.history[3].seconds = 1e300;
  one.base_loss = 1e308;
  one.ledger.invocations[0].seconds = 1e9;
  const auto page = report_html(one);
  EXPECT_EQ(fault(page), "");
  EXPECT_THAT(page, Not(testing::ContainsRegex("[^a-z](nan|inf)[^a-z]")));
}

TEST(ReportHtmlTest, IsBoundedHoweverManyInvocationsThereAre) {
  auto one = input();
  for (WorkerId id = 0; id < 100; ++id) {
    for (Generation generation = 1; generation <= 100; ++generation) {
      one.ledger.invocations.push_back(worker(id, generation, generation, 0.9));
    }
  }
  const auto page = report_html(one);
  EXPECT_EQ(fault(page), "");
  EXPECT_LT(page.size(), 8'000'000U);
  EXPECT_THAT(page, HasSubstr("The first 64 of 101 rows."));
  EXPECT_THAT(page, HasSubstr("The first 4000 of"));
}

TEST(CostCurveTest, PutsDollarsBesideTheHistory) {
  PriceTable table;
  table.functions = {.usd_per_gb_second = 0.01, .usd_per_request = 0};
  const Ledger ledger{
      .invocations =
          {{.task = "worker", .end = "done", .start_seconds = 1, .seconds = 10, .memory_bytes = 1'024'000'000}},
      .services = {}};
  const auto curve = cost_curve({{.epoch = 1, .seconds = 3}, {.epoch = 2, .seconds = 100}}, ledger, table, 2);
  ASSERT_EQ(curve.size(), 2U);
  EXPECT_EQ(curve[0].usd, Usd::of(0.04));  // at second 5 of the run
  EXPECT_EQ(curve[1].usd, Usd::of(0.1));
  EXPECT_EQ(curve[1].entry.epoch, 2U);
}

}  // namespace
}  // namespace virga
