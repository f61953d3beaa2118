#include "qeff/nn/perplexity.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "qeff/core/error.hpp"
#include "qeff/nn/sampler.hpp"

namespace qeff {
namespace {

using Ids = std::span<const std::int32_t>;

/// The text in contexts, run through a model a few tokens of each of a group of contexts at a time.
class ContextRunner {
 public:
  ContextRunner(SequenceModel& model, Ids ids, std::size_t ctx, std::size_t group, std::size_t step)
      : model_(model), ids_(ids), ctx_(ctx), logits_(group * step * model.vocab_size()) {}

  /// Logits of the tokens [begin, begin + count) of the contexts [first, first + contexts).
  void run(std::size_t first, std::size_t contexts, std::size_t begin, std::size_t count) {
    std::vector<CausalChunk> chunks;
    for (std::size_t c = 0; c < contexts; ++c) {
      if (begin == 0) model_.truncate(c, 0);
      chunks.push_back({c, ids_.subspan((first + c) * ctx_ + begin, count), true});
    }
    model_.run(chunks, std::span(logits_).first(contexts * count * model_.vocab_size()));
  }
  [[nodiscard]] std::span<const float> row(std::size_t index) const {
    return std::span(logits_).subspan(index * model_.vocab_size(), model_.vocab_size());
  }

 private:
  SequenceModel& model_;
  Ids ids_;
  std::size_t ctx_;
  std::vector<float> logits_;
};

/// How the text is cut; the same for both models of a comparison.
struct Plan {
  std::size_t ctx, contexts, group, step;
};

Plan plan_of(Ids ids, const PerplexityOptions& options, std::size_t sequences,
             std::size_t ctx_len) {
  require(ids.size() >= 2, "perplexity needs a text of at least 2 tokens, not ", ids.size());
  require(options.ctx >= 2, "ctx must be at least 2, not ", options.ctx);
  require(options.run_tokens >= 1, "run_tokens must be at least 1, not 0");
  const std::size_t ctx = std::min(options.ctx, ids.size());
  require(ctx <= ctx_len, "ctx = ", ctx, " is more than the session's ctx_len = ", ctx_len);
  const std::size_t contexts = ids.size() / ctx;
  const std::size_t group = std::min({sequences, contexts, options.run_tokens});
  return {ctx, contexts, group, std::min(ctx, options.run_tokens / group)};
}

void require_ids(Ids ids, std::size_t vocab) {
  const auto bad = std::find_if(ids.begin(), ids.end(), [&](std::int32_t id) {
    return id < 0 || static_cast<std::size_t>(id) >= vocab;
  });
  if (bad != ids.end())
    throw InvalidArgument(str("text: id ", *bad, " at position ", bad - ids.begin(),
                              " is outside the vocabulary of ", vocab));
}

/// Calls run(first context, contexts, first token, tokens) for all of the text, in order.
template <class Run>
void for_each_run(const Plan& plan, const PerplexityOptions& options, Run run) {
  std::size_t done = 0;
  for (std::size_t first = 0; first < plan.contexts; first += plan.group) {
    const std::size_t contexts = std::min(plan.group, plan.contexts - first);
    for (std::size_t begin = 0; begin < plan.ctx; begin += plan.step) {
      const std::size_t count = std::min(plan.step, plan.ctx - begin);
      run(first, contexts, begin, count);
      done += contexts * count;
      if (options.progress) options.progress(done, plan.contexts * plan.ctx);
    }
  }
}

/// Calls predict(row, id to predict, index of the prediction) for the rows of a run, in parallel.
template <class Predict>
void for_each_prediction(const Plan& plan, Ids ids, std::size_t first, std::size_t contexts,
                         std::size_t begin, std::size_t count, Executor& executor,
                         Predict predict) {
  executor.run(contexts * count, [&](std::size_t row) {
    const std::size_t context = first + row / count, place = begin + row % count;
    if (place + 1 == plan.ctx) return;
    predict(row, ids[context * plan.ctx + place + 1], context * (plan.ctx - 1) + place);
  });
}

Perplexity summary(const Plan& plan, const std::vector<double>& losses) {
  Perplexity result{plan.contexts, losses.size(), 0, 0};
  for (const double loss : losses) result.mean_loss += loss;
  const auto n = static_cast<double>(losses.size());
  result.mean_loss /= n;
  double squares = 0;
  for (const double loss : losses) squares += (loss - result.mean_loss) * (loss - result.mean_loss);
  if (n > 1) result.standard_error = std::sqrt(squares / (n - 1) / n);
  return result;
}

void empty(SequenceModel& model) {
  for (std::size_t s = 0; s < model.sequences(); ++s) model.truncate(s, 0);
}

/// Both log-softmaxes of a prediction, and what they say of each other.
struct Comparison {
  double kl = 0;
  bool same_top = false;
};

Comparison compare(std::span<const float> model, std::span<const float> reference) {
  TokenLogProb top, reference_top;
  top_log_probabilities(model, std::span(&top, 1));
  top_log_probabilities(reference, std::span(&reference_top, 1));
  // log p of token i is its logit minus this.
  const auto shift = [](std::span<const float> logits, const TokenLogProb& best) {
    return static_cast<double>(logits[static_cast<std::size_t>(best.id)]) -
           log_probability(logits, best.id);
  };
  const double p_shift = shift(reference, reference_top), q_shift = shift(model, top);
  double kl = 0;
  for (std::size_t i = 0; i < model.size(); ++i) {
    const double p = static_cast<double>(reference[i]) - p_shift;
    const double q = static_cast<double>(model[i]) - q_shift;
    if (p > -700) kl += std::exp(p) * (p - q);
  }
  return {kl, top.id == reference_top.id};
}

}  // namespace

double Perplexity::perplexity() const noexcept { return std::exp(mean_loss); }

Perplexity perplexity(SequenceModel& model, std::span<const std::int32_t> ids,
                      const PerplexityOptions& options, Executor& executor) {
  require_ids(ids, model.vocab_size());
  const Plan plan = plan_of(ids, options, model.sequences(), model.ctx_len());
  ContextRunner runner(model, ids, plan.ctx, plan.group, plan.step);
  std::vector<double> losses(plan.contexts * (plan.ctx - 1));
  for_each_run(plan, options, [&](auto first, auto contexts, auto begin, auto count) {
    runner.run(first, contexts, begin, count);
    for_each_prediction(plan, ids, first, contexts, begin, count, executor,
                        [&](std::size_t row, std::int32_t id, std::size_t index) {
                          losses[index] = -log_probability(runner.row(row), id);
                        });
  });
  empty(model);
  return summary(plan, losses);
}

Divergence kl_divergence(SequenceModel& model, SequenceModel& reference,
                         std::span<const std::int32_t> ids, const PerplexityOptions& options,
                         Executor& executor) {
  require(model.vocab_size() == reference.vocab_size(), "the models have vocabularies of ",
          model.vocab_size(), " and ", reference.vocab_size(), " tokens");
  require_ids(ids, model.vocab_size());
  const Plan plan = plan_of(ids, options, std::min(model.sequences(), reference.sequences()),
                            std::min(model.ctx_len(), reference.ctx_len()));
  ContextRunner runner(model, ids, plan.ctx, plan.group, plan.step);
  ContextRunner original(reference, ids, plan.ctx, plan.group, plan.step);
  const std::size_t predictions = plan.contexts * (plan.ctx - 1);
  std::vector<double> losses(predictions), original_losses(predictions);
  std::vector<Comparison> comparisons(predictions);
  for_each_run(plan, options, [&](auto first, auto contexts, auto begin, auto count) {
    runner.run(first, contexts, begin, count);
    original.run(first, contexts, begin, count);
    for_each_prediction(plan, ids, first, contexts, begin, count, executor,
                        [&](std::size_t row, std::int32_t id, std::size_t index) {
                          losses[index] = -log_probability(runner.row(row), id);
                          original_losses[index] = -log_probability(original.row(row), id);
                          comparisons[index] = compare(runner.row(row), original.row(row));
                        });
  });
  empty(model);
  empty(reference);
  Divergence result{summary(plan, losses), summary(plan, original_losses), 0, 0, 0};
  std::size_t same = 0;
  for (const Comparison& c : comparisons) {
    result.mean_kl += c.kl / static_cast<double>(predictions);
    result.max_kl = std::max(result.max_kl, c.kl);
    same += c.same_top ? 1 : 0;
  }
  result.same_top_share = static_cast<double>(same) / static_cast<double>(predictions);
  return result;
}

}  // namespace qeff
