#include <string>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "virga/base/random.h"
#include "virga/data/libsvm.h"

namespace virga {
namespace {

/// Click logs: 39 binary features of 2^20 by Zipf's law, about 330 bytes a row.
std::string click_rows(std::uint64_t rows) {
  const Random random(1, Purpose::kTest);
  std::string text;
  for (std::uint64_t row = 0; row < rows; ++row) {
    text += row % 4 == 0 ? "1" : "0";
    std::uint64_t index = 0;
    for (std::uint32_t i = 0; i < 39; ++i) {
      index += 1 + random.below(2 * (1U << 20) / 40, 0, row, i);
      text += fmt::format(" {}:1", index);
    }
    text += '\n';
  }
  return text;
}

/// Documents: 80 words of 50,000, weighted by tf-idf with six or seven digits.
std::string document_rows(std::uint64_t rows) {
  const Random random(1, Purpose::kTest);
  std::string text;
  for (std::uint64_t row = 0; row < rows; ++row) {
    text += row % 4 == 0 ? "+1" : "-1";
    std::uint64_t index = 0;
    for (std::uint32_t i = 0; i < 80; ++i) {
      index += 1 + random.below(2 * 50'000 / 81, 0, row, i);
      text += fmt::format(" {}:{:.7g}", index, random.uniform(1, row, i) / 4);
    }
    text += '\n';
  }
  return text;
}

/// One core parses 64 MiB of text that lie in memory, in chunks of 4 MiB.
void BM_ParseLibsvm(benchmark::State& state) {
  const auto one = state.range(0) == 0 ? click_rows(12'000) : document_rows(4'000);
  std::vector<TextChunk> chunks;
  for (int i = 0; i < 16; ++i) chunks.push_back(make_text_chunk(one));
  ParsedRows rows;
  std::size_t parsed = 0;
  for (auto _ : state) {
    for (const auto& chunk : chunks) {
      parse_libsvm(chunk, {}, rows);
      parsed += rows.rows.size();
      benchmark::DoNotOptimize(rows.ids.data());
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(parsed));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(16 * one.size()));
}
BENCHMARK(BM_ParseLibsvm)->ArgName("documents")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace virga
