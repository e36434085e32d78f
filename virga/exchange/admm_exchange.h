#pragma once

#include <array>
#include <vector>

#include "virga/exchange/period.h"
#include "virga/exchange/replica_exchange.h"
#include "virga/exchange/touched_rows.h"

namespace virga {

/// Consensus ADMM (Boyd et al. 2011, section 7.1; LambdaML's ADMM) for mean loss + l1 |w| + (l2 / 2) |w|^2. Rank i has
/// the loss F_i of its own rows, which must be the same in every epoch, their share n_i of all weight, and vectors x_i,
/// u_i; all share z. In a period each rank steps towards
///   x_i = argmin F_i(x) + (rho / 2) |x - z + u_i|^2,
/// from where it stands, by the update rule with the gradients of mini-batches; at its end
///   z = prox of (l1 |.| + (l2 / 2) |.|^2) / rho at sum of n_i (x_i + u_i),    u_i = u_i + x_i - z.
/// (rho here is that of the mean loss; that of the sum over P equal ranks is P times less a rank.) A table that is not
/// regularised is not shrunk, but agreed on like the others. The first z is the start.
///
/// Sparse stays sparse: the rule works on y = x - (z - u), for which the pull is its own L2 penalty and lazy; a rank
/// whose rows lack a feature has y = 0 there; and what travels is y, since x + u = z + y.
///
/// converged(): both residuals, of the primal sqrt(sum of n_i |x_i - z|^2) and the dual rho |z - z before|, were below
/// sqrt(n) e_abs + e_rel times max(sqrt(sum of n_i |x_i|^2), |z|) and rho sqrt(sum of n_i |u_i|^2), at the last
/// synchronisation but one.
///
/// Memory: a replica with its states, z, u, and what AllReduce takes.
class AdmmExchange final : public ReplicaExchange {
 public:
  struct Penalty {
    double rho = 0.1;
    double absolute = 1e-5;  ///< e_abs
    double relative = 1e-3;  ///< e_rel
  };

  /// Starts before `start`, which is at the beginning of a period. `rule` has l1 and l2 of the problem. `channel` is
  /// borrowed; `cuts` are those of summed_layout(). Throws what UpdateRule's constructor throws.
  AdmmExchange(Channel& channel, const Options& options, const Tables& parameters, const UpdateRuleOptions& rule,
               const Penalty& penalty, const Period& period, TableCuts cuts, Position start = {});

  /// What ranks add up: y of all tables, and their norms.
  [[nodiscard]] static Layout summed_layout(const Layout& parameters);

  [[nodiscard]] const CompactParameters& read(Round round, std::span<const std::uint32_t> keys) override;
  void write(Round round, const Contribution& contribution) override;

  [[nodiscard]] bool converged() const noexcept override { return converged_; }
  void copy_parameters(Tables& out) const override;
  [[nodiscard]] double learning_rate() const noexcept override { return rule_.options().learning_rate; }
  void set_learning_rate(double rate) override { rule_.set_learning_rate(position_.step, rate); }
  void scale_accumulators(double factor) override { rule_.scale_accumulators(position_.step, factor); }
  [[nodiscard]] ReplicaState save() const override;
  void load(const ReplicaState& state) override;
  [[nodiscard]] bool has_own_state() const noexcept override { return true; }

 private:
  /// Squares of norms: of this rank's x - z, x and u; of all ranks' z - z before, and z.
  struct Norms {
    float primal = 0, x = 0, u = 0, dual = 0;
    float z = -1;  ///< before the first synchronisation
  };
  void agree(Round round);
  [[nodiscard]] Contribution gathered(const std::vector<std::vector<float>>& y,
                                      const std::vector<std::vector<std::uint32_t>>& keys) const;
  void judge(std::span<const float> norms);
  [[nodiscard]] float shrunk(float value, bool regularised) const noexcept;
  [[nodiscard]] Layout own_layout() const;

  const Period period_;
  const Penalty penalty_;
  const double l1_, l2_;
  const Layout layout_;
  UpdateRule rule_;  // of y
  Tables z_, u_;
  std::vector<TouchedRows> touched_;  // since the start of the run: the features of this rank's rows
  RoundTotals own_totals_;
  Norms norms_;  // as of the last synchronisation
  bool converged_ = false;
  std::vector<float> gradient_;
};

}  // namespace virga
