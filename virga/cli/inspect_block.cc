#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/units.h"
#include "virga/cli/inspect.h"
#include "virga/cli/table.h"
#include "virga/data/block.h"

namespace virga {
namespace {

using nlohmann::json;

struct GroupSummary {
  std::size_t bytes = 0;
  std::uint32_t rows = 0;
  std::size_t columns = 0;  ///< distinct features
  std::size_t nonzeros = 0;
};

/// A row as a LIBSVM line, features from 0, values not scaled: "1 3:1 17:0.5".
std::string row_text(const RowGroup& group, std::uint32_t row) {
  auto text = fmt::format("{}", group.labels[row]);
  if (group.dense) {
    for (std::uint32_t column = 0; column < group.columns; ++column) {
      const auto value = group.matrix[std::size_t{row} * group.columns + column];
      if (value != 0) text += fmt::format(" {}:{}", column, value);
    }
    return text + "\n";
  }
  for (auto entry = group.row_begin[row]; entry < group.row_begin[row + 1]; ++entry) {
    text += fmt::format(" {}:{}", group.keys[group.index(entry)], group.values.empty() ? 1.0F : group.values[entry]);
  }
  return text + "\n";
}

}  // namespace

void inspect_block(ByteView bytes, const std::string& name, std::size_t rows, Session& session) {
  std::vector<GroupSummary> groups;
  std::vector<std::string> shown;
  for (const auto encoded : split_block(bytes, name)) {
    const auto group = decode_group(encoded, name);
    groups.push_back({encoded.size(), group.rows, group.dense ? group.columns : group.keys.size(), group.nonzeros()});
    for (std::uint32_t row = 0; row < group.rows && shown.size() < rows; ++row) shown.push_back(row_text(group, row));
  }
  if (session.json()) {
    auto list = json::array();
    for (const auto& group : groups) {
      list.push_back({{"bytes", group.bytes},
                      {"rows", group.rows},
                      {"distinct_features", group.columns},
                      {"nonzeros", group.nonzeros}});
    }
    json document{{"kind", "block"}, {"bytes", bytes.size()}, {"groups", std::move(list)}};
    if (rows > 0) document["rows"] = shown;
    return session.print_json(std::move(document));
  }
  Table table(
      {{"GROUP", true}, {"ROWS", true}, {"FEATURES", true}, {"NON-ZEROS", true}, {"BYTES", true}, {"A ROW", true}});
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const auto& group = groups[g];
    table.add({std::to_string(g), format_count(group.rows), format_count(group.columns), format_count(group.nonzeros),
               format_count(group.bytes), fmt::format("{:.1f}", static_cast<double>(group.bytes) / group.rows)});
  }
  session.print(fmt::format("Block {}: {} groups, {}\n\n", name, groups.size(), format_bytes(bytes.size())) +
                table.text());
  for (const auto& line : shown) session.print(line);
}

}  // namespace virga
