#include "virga/model/model.h"

#include <algorithm>
#include <cmath>

#include "virga/math/elementary.h"
namespace virga {
Layout layout_of(const ModelSpec& s) {
  const std::uint32_t width = s.kind == ModelKind::kSoftmax ? s.classes : 1;
  Layout l{{"weights", s.features, width, true, !s.dense}};
  if (s.fit_bias) l.push_back({"bias", 1, width, false, false});
  return l;
}
namespace {
class Simple final : public Model {
 public:
  explicit Simple(const ModelSpec& s) : s_(s), w_(s.kind == ModelKind::kSoftmax ? s.classes : 1) {}
  double row(const float* z, float label, double weight, float* r) {
    const double zz = z[0];
    switch (s_.kind) {
      case ModelKind::kLogistic: {
        const double y = label;
        r[0] = static_cast<float>(weight * (math::sigmoid(zz) - y));
        return weight * math::softplus(y > 0 ? -zz : zz);
      }
      case ModelKind::kSvm: {
        const double y = label > 0 ? 1 : -1, m = 1 - y * zz;
        r[0] = static_cast<float>(m > 0 ? -weight * y : 0);
        return m > 0 ? weight * m : 0;
      }
      case ModelKind::kSvmSquared: {
        const double y = label > 0 ? 1 : -1, m = 1 - y * zz;
        r[0] = static_cast<float>(m > 0 ? -2 * weight * y * m : 0);
        return m > 0 ? weight * m * m : 0;
      }
      case ModelKind::kLeastSquares: {
        const double d = zz - label;
        r[0] = static_cast<float>(2 * weight * d);
        return weight * d * d;
      }
      case ModelKind::kSoftmax: {
        double top = z[0];
        for (std::uint32_t c = 1; c < w_; ++c) top = std::max<double>(top, z[c]);
        double sum = 0;
        for (std::uint32_t c = 0; c < w_; ++c) sum += math::exp(z[c] - top);
        const auto y = static_cast<std::uint32_t>(label);
        for (std::uint32_t c = 0; c < w_; ++c)
          r[c] = static_cast<float>(weight * (math::exp(z[c] - top) / sum - (c == y)));
        return weight * (math::log(sum) + top - z[y]);
      }
    }
    return 0;
  }
  double weight(const RowGroup& g, std::uint32_t i) const {
    double w = g.weights.empty() ? 1 : g.weights[i];
    if (!s_.class_weights.empty()) w *= s_.class_weights[static_cast<std::size_t>(g.labels[i])];
    return w;
  }
  template <typename W>
  void score(const RowGroup& g, std::uint32_t i, const W& at, const float* bias, float* z) {
    for (std::uint32_t c = 0; c < w_; ++c) z[c] = bias ? bias[c] : 0;
    if (g.dense) {
      for (std::uint32_t j = 0; j < g.columns; ++j) {
        const float x = g.matrix[std::size_t{i} * g.columns + j];
        if (x != 0)
          for (std::uint32_t c = 0; c < w_; ++c) z[c] += x * at(j)[c];
      }
      return;
    }
    for (auto e = g.row_begin[i]; e < g.row_begin[i + 1]; ++e) {
      const float x = g.values.empty() ? 1 : g.values[e];
      for (std::uint32_t c = 0; c < w_; ++c) z[c] += x * at(g.index(e))[c];
    }
  }
  void gradient(const MiniBatch& b, const CompactParameters& p, Contribution& out) override {
    out = {};
    out.tables.resize(s_.fit_bias ? 2 : 1);
    auto& t = out.tables[0];
    t.whole = s_.dense;
    t.keys = b.keys;
    t.values.assign(p.tables[0].size(), 0);
    if (s_.fit_bias) {
      out.tables[1].whole = true;
      out.tables[1].values.assign(w_, 0);
    }
    std::vector<float> z(w_), r(w_);
    std::vector<std::uint32_t> pos;
    for (const auto& s : b.slices) {
      const auto& g = *s.group;
      pos.assign(g.keys.size(), 0);
      const auto count = static_cast<std::uint32_t>(s.all_used ? g.keys.size() : s.used.size());
      for (std::uint32_t u = 0; u < count; ++u) pos[s.all_used ? u : s.used[u]] = s.positions.empty() ? u : s.positions[u];
      const float* base = p.tables[0].data();
      const auto at = [&](std::uint32_t k) { return base + std::size_t{g.dense ? k : pos[k]} * w_; };
      for (auto i = s.first_row; i < s.last_row; ++i) {
        score(g, i, at, s_.fit_bias ? p.tables[1].data() : nullptr, z.data());
        const double wt = weight(g, i);
        out.loss += row(z.data(), g.labels[i], wt, r.data());
        out.weight += wt;
        ++out.examples;
        if (s_.fit_bias)
          for (std::uint32_t c = 0; c < w_; ++c) out.tables[1].values[c] += r[c];
        if (g.dense) {
          for (std::uint32_t j = 0; j < g.columns; ++j) {
            const float x = g.matrix[std::size_t{i} * g.columns + j];
            if (x != 0)
              for (std::uint32_t c = 0; c < w_; ++c) t.values[j * w_ + c] += x * r[c];
          }
          continue;
        }
        for (auto e = g.row_begin[i]; e < g.row_begin[i + 1]; ++e) {
          const float x = g.values.empty() ? 1 : g.values[e];
          for (std::uint32_t c = 0; c < w_; ++c) t.values[std::size_t{pos[g.index(e)]} * w_ + c] += x * r[c];
        }
      }
    }
  }
  void scores(const RowGroup& g, const Tables& p, std::span<float> out) override {
    const auto at = [&](std::uint32_t k) { return p.values[0].data() + std::size_t{g.dense ? k : g.keys[k]} * w_; };
    for (std::uint32_t i = 0; i < g.rows; ++i)
      score(g, i, at, s_.fit_bias ? p.values[1].data() : nullptr, out.data() + std::size_t{i} * w_);
  }
  LossSums losses(const RowGroup& g, const Tables& p) override {
    std::vector<float> z(std::size_t{g.rows} * w_), r(w_);
    scores(g, p, z);
    LossSums l;
    for (std::uint32_t i = 0; i < g.rows; ++i) {
      const double wt = weight(g, i);
      l.loss += row(z.data() + std::size_t{i} * w_, g.labels[i], wt, r.data());
      l.weight += wt;
      ++l.examples;
    }
    return l;
  }

 private:
  ModelSpec s_;
  std::uint32_t w_;
};
}  // namespace
std::unique_ptr<Model> make_model(const ModelSpec& s, const Kernels&) { return std::make_unique<Simple>(s); }
}  // namespace virga
namespace virga {
std::string_view to_string(ModelKind k) noexcept {
  switch (k) {
    case ModelKind::kLogistic:
      return "logistic";
    case ModelKind::kSvm:
      return "svm";
    case ModelKind::kSvmSquared:
      return "svm-squared";
    case ModelKind::kSoftmax:
      return "softmax";
    case ModelKind::kLeastSquares:
      return "least-squares";
  }
  return "";
}
}  // namespace virga
