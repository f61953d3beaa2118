#include "qeff/nn/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>

#include "math/portable_exp.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

constexpr std::size_t lanes = 8;  // of loops that become vector code
constexpr float lowest = -std::numeric_limits<float>::infinity();

/// The largest logit and the lowest id that has it; id -1 if no logit is above -infinity.
struct Largest {
  std::int32_t id = -1;
  float logit = lowest;
};

Largest largest_of(std::span<const float> logits) noexcept {
  float best[lanes];
  std::fill(best, best + lanes, lowest);
  std::size_t i = 0;
  for (; i + lanes <= logits.size(); i += lanes)
    for (std::size_t lane = 0; lane < lanes; ++lane)
      best[lane] = logits[i + lane] > best[lane] ? logits[i + lane] : best[lane];
  for (; i < logits.size(); ++i) best[0] = logits[i] > best[0] ? logits[i] : best[0];
  const float logit = *std::max_element(best, best + lanes);
  if (logit == lowest) return {};
  const auto first = std::find(logits.begin(), logits.end(), logit);
  return {static_cast<std::int32_t>(first - logits.begin()), logit};
}

Largest require_number(std::span<const float> logits) {
  const Largest best = largest_of(logits);
  require(best.id >= 0, "logits: none of ", logits.size(), " is a number above -infinity");
  return best;
}

/// log of the sum of exp(l - largest); an infinite largest stands alone.
double log_sum(std::span<const float> logits, float largest) noexcept {
  if (std::isinf(largest))
    return std::log(static_cast<double>(std::count(logits.begin(), logits.end(), largest)));
  double total = 0;
  for (const float l : logits)
    total += portable_exp(static_cast<double>(l) - static_cast<double>(largest));
  return std::log(total);
}

/// The log-probability of one logit; log_total of log_sum.
double log_share(float logit, float largest, double log_total) noexcept {
  if (logit == largest) return -log_total;
  if (!(logit > lowest)) return -std::numeric_limits<double>::infinity();
  return static_cast<double>(logit) - static_cast<double>(largest) - log_total;
}

float number_or_lowest(float logit) noexcept { return std::isnan(logit) ? lowest : logit; }

/// What a token is ordered by: its logit, which a TokenLogProb holds until log_share().
template <class Token>
float score(const Token& t) noexcept {
  if constexpr (std::is_same_v<Token, TokenLogProb>)
    return t.logprob;
  else
    return t.logit;
}

/// The likelier one of two tokens; of equal ones that with the lower id.
constexpr auto better = [](const auto& a, const auto& b) {
  return score(a) != score(b) ? score(a) > score(b) : a.id < b.id;
};

/// The out.size() best of make(0) ... make(count - 1), best first; at least as many as out holds.
template <class Make, class Token>
void best_of(std::size_t count, Make make, std::span<Token> out) {
  std::size_t held = 0;  // of a heap that has the worst in front
  for (std::size_t i = 0; i < count && !out.empty(); ++i) {
    const Token next = make(i);
    if (held == out.size()) {
      if (!better(next, out[0])) continue;
      std::pop_heap(out.begin(), out.end(), better);
      --held;
    }
    out[held++] = next;
    std::push_heap(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(held), better);
  }
  std::sort_heap(out.begin(), out.end(), better);
}

bool finite_from(float value, float least) noexcept {
  return std::isfinite(value) && value >= least;
}

}  // namespace

void validate(const SamplingOptions& o) {
  require(finite_from(o.temperature, 0), "temperature must be a number from 0 on, not ",
          o.temperature);
  require(o.top_p > 0 && o.top_p <= 1, "top_p must be above 0 and at most 1, not ", o.top_p);
  require(o.min_p >= 0 && o.min_p <= 1, "min_p must be between 0 and 1, not ", o.min_p);
  require(std::isfinite(o.repetition_penalty) && o.repetition_penalty > 0,
          "repetition_penalty must be a number above 0, not ", o.repetition_penalty);
  require(std::isfinite(o.presence_penalty), "presence_penalty must be a finite number, not ",
          o.presence_penalty);
  require(std::isfinite(o.frequency_penalty), "frequency_penalty must be a finite number, not ",
          o.frequency_penalty);
}

std::uint64_t seed_of(std::uint64_t seed, std::size_t index) noexcept {
  return index == 0 ? seed : RandomBits(seed ^ RandomBits(index).next()).next();
}

Sampler::Sampler(const SamplingOptions& options, std::size_t vocab)
    : options_(options), vocab_(vocab), random_(options.seed) {
  validate(options);
  require(vocab > 0, "a sampler needs a vocabulary of at least one token");
  if (options.repetition_penalty != 1 || options.presence_penalty != 0 ||
      options.frequency_penalty != 0) {
    scores_.resize(vocab);
    counts_.resize(vocab);
    known_.resize(vocab);
    seen_.reserve(vocab);
  }
  if (options.temperature > 0) candidates_.reserve(vocab);
}

void Sampler::restart(std::uint64_t seed) {
  random_ = RandomBits(seed);
  for (const std::int32_t id : seen_) {
    counts_[static_cast<std::size_t>(id)] = 0;
    known_[static_cast<std::size_t>(id)] = 0;
  }
  seen_.clear();
}

void Sampler::see(std::span<const std::int32_t> prompt) {
  for (const std::int32_t id : prompt) count(id, 0);
}

void Sampler::count(std::int32_t id, std::uint32_t times) {
  if (counts_.empty()) return;
  const auto at = static_cast<std::size_t>(id);
  if (known_[at] == 0) {
    known_[at] = 1;
    seen_.push_back(id);
  }
  counts_[at] += times;
}

std::span<const float> Sampler::penalized(std::span<const float> logits) {
  if (seen_.empty()) return logits;
  std::copy(logits.begin(), logits.end(), scores_.begin());
  const float repetition = options_.repetition_penalty;
  for (const std::int32_t id : seen_) {
    const auto at = static_cast<std::size_t>(id);
    float& score = scores_[at];
    score = score > 0 ? score / repetition : score * repetition;
    if (counts_[at] > 0)
      score -=
          static_cast<float>(counts_[at]) * options_.frequency_penalty + options_.presence_penalty;
  }
  return scores_;
}

std::int32_t Sampler::choose(std::span<const float> logits) {
  require(logits.size() == vocab_, "logits: ", logits.size(), " numbers for a vocabulary of ",
          vocab_);
  const std::span<const float> scores = penalized(logits);
  const Largest best = require_number(scores);
  const bool certain = options_.temperature == 0 || std::isinf(best.logit);
  const std::int32_t id = certain ? best.id : draw(scores, best.logit);
  count(id, 1);
  return id;
}

std::int32_t Sampler::draw(std::span<const float> logits, float largest) {
  gather(logits);
  weigh(largest);
  if (options_.top_p < 1) keep_top_p();
  if (options_.min_p > 0)
    std::erase_if(candidates_, [&](const Candidate& c) {
      return c.weight < static_cast<double>(options_.min_p);
    });
  return pick();
}

/// All tokens in the order of their ids, or the top k, best first.
void Sampler::gather(std::span<const float> logits) {
  const bool all = options_.top_k == 0 || options_.top_k >= vocab_;
  candidates_.resize(all ? vocab_ : options_.top_k);
  const auto candidate = [&](std::size_t i) {
    return Candidate{static_cast<std::int32_t>(i), number_or_lowest(logits[i])};
  };
  if (all)
    for (std::size_t i = 0; i < vocab_; ++i) candidates_[i] = candidate(i);
  else
    best_of(vocab_, candidate, std::span(candidates_));
}

void Sampler::weigh(float largest) {
  const double scale = 1 / static_cast<double>(options_.temperature);
  for (Candidate& c : candidates_)
    c.weight = portable_exp((static_cast<double>(c.logit) - static_cast<double>(largest)) * scale);
}

/// Tokens below (1 - p) / n of the mass are at most 1 - p together: they go before anything is
/// sorted.
void Sampler::keep_top_p() {
  double total = 0;
  for (const Candidate& c : candidates_) total += c.weight;
  const double p = static_cast<double>(options_.top_p);
  const double hopeless = total * (1 - p) / static_cast<double>(candidates_.size());
  std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < hopeless; });
  std::sort(candidates_.begin(), candidates_.end(), better);
  double before = 0;
  std::size_t kept = 0;
  while (kept < candidates_.size() && before < p * total) before += candidates_[kept++].weight;
  candidates_.resize(std::max<std::size_t>(kept, 1));
}

std::int32_t Sampler::pick() {
  double total = 0;
  for (const Candidate& c : candidates_) total += c.weight;
  double left = random_.uniform() * total;
  std::int32_t last = -1;  // rounding may leave nothing below 0
  for (const Candidate& c : candidates_) {
    if (c.weight > 0) last = c.id;
    left -= c.weight;
    if (left < 0) break;
  }
  return last;
}

double log_probability(std::span<const float> logits, std::int32_t id) {
  require(id >= 0 && static_cast<std::size_t>(id) < logits.size(), "id ", id,
          " is outside the vocabulary of ", logits.size());
  const Largest best = require_number(logits);
  return log_share(logits[static_cast<std::size_t>(id)], best.logit, log_sum(logits, best.logit));
}

void top_log_probabilities(std::span<const float> logits, std::span<TokenLogProb> out) {
  require(out.size() <= logits.size(), out.size(), " log-probabilities of a vocabulary of ",
          logits.size());
  const Largest best = require_number(logits);
  const double log_total = log_sum(logits, best.logit);
  best_of(
      logits.size(),
      [&](std::size_t i) {
        return TokenLogProb{static_cast<std::int32_t>(i), number_or_lowest(logits[i])};
      },
      out);
  for (TokenLogProb& t : out)
    t.logprob = static_cast<float>(log_share(t.logprob, best.logit, log_total));
}

}  // namespace qeff
