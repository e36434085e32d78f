#pragma once

#include <string_view>

#include "virga/data/encoding.h"
#include "virga/model/model.h"
#include "virga/training/model_file.h"

namespace virga {

/// Parameters from which a run of `spec` on rows of `encoding` begins with the predictions of `model`, to rounding:
/// where its features are scaled otherwise, the weights and biases of a linear model are converted. Only rows that lack
/// a number may get other predictions. Throws Error(kUsage), naming `name` and the difference, if the kind, the
/// classes, or what the features mean (columns, levels, names, shape) differ, or the scaling of a model of clusters, or
/// offsets of features that some rows have, which a linear model cannot make up for.
[[nodiscard]] Tables warm_start(ModelFile model, const ModelSpec& spec, const Encoding& encoding,
                                std::string_view name);

}  // namespace virga
