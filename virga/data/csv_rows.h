#pragma once

#include <memory>
#include <string>
#include <vector>

#include "virga/data/csv_columns.h"
#include "virga/data/encoding.h"
#include "virga/data/row_source.h"

namespace virga {

/// open_encoded_rows() for CSV files.
[[nodiscard]] std::unique_ptr<RowSource> open_csv_rows(std::vector<std::string> files, const Encoding& encoding,
                                                       const RowSourceOptions& options);

}  // namespace virga
