#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "virga/batch/row_group.h"
#include "virga/data/group_cache.h"
#include "virga/data/manifest.h"
#include "virga/data/raw_reader.h"
#include "virga/training/metrics.h"
#include "virga/training/model_file.h"
#include "virga/training/score.h"

namespace virga {

/// Hands out groups of rows, in order, encoded and scaled by the model's Encoding; null at the end. Called by one
/// thread at a time.
using GroupStream = std::function<RowGroupPtr()>;

/// The rows of `reader`, which is borrowed.
[[nodiscard]] GroupStream groups_of(RawReader& reader);

/// What `model` is worth on the rows of `next`, scored on `threads` threads; the bits do not depend on their number.
/// Memory: a few groups a thread, and that of Metrics. Throws what `next` throws, and as Metrics.
[[nodiscard]] Evaluation evaluate(const ModelView& model, const GroupStream& next, unsigned threads);

/// The same for a split of an imported set. The cache must have been opened with a manifest that manifest_for() made.
/// Labels are matched by the text of their classes.
[[nodiscard]] Evaluation evaluate(const ModelView& model, GroupCache& cache, SplitName split, unsigned threads);

/// What an evaluation needs of the rows of a group, once they have scores.
struct ScoredGroup {
  std::vector<float> scores;   ///< [rows x outputs]
  std::vector<float> labels;   ///< [rows] as the model numbers them
  std::vector<float> weights;  ///< [rows], or empty for all 1
};

/// split_loss(), to the bit, and the scores that it goes by, in one pass over the rows: an evaluation of the same model
/// needs no second one.
struct ScoredSplit {
  double loss = 0;
  std::vector<ScoredGroup> groups;  ///< of the split, in order; empty if they would be more than 16 MiB, or of clusters
};
[[nodiscard]] ScoredSplit score_split(const ModelView& model, GroupCache& cache, SplitName split,
                                      const Kernels& kernels, unsigned threads);

/// evaluate(), to the bit, of the split that `groups` (some) are of.
[[nodiscard]] Evaluation evaluate(const ModelView& model, std::span<const ScoredGroup> groups, unsigned threads);

/// The first thing in which rows that were encoded by `set` differ from those that `model` knows, scaling apart; empty
/// if none. A set in the LIBSVM format may have fewer features, and any may lack classes.
[[nodiscard]] std::string encoding_difference(const Encoding& model, const Encoding& set);

/// The manifest under which a GroupCache hands out the rows of an imported set as `model` wants them: `set` with the
/// model's scaling. Throws Error(kUsage), naming `set_name`, the first difference and the remedy, if the set was
/// encoded otherwise than the data of the model, or has a class that the model does not know. A LIBSVM set may have
/// fewer features: there, ids mean the same everywhere.
[[nodiscard]] Manifest manifest_for(const ModelFile& model, Manifest set, std::string_view set_name);

}  // namespace virga
