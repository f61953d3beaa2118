/// @file
/// From the logits of a model to the next token: penalties, temperature, top-k, top-p, min-p.
///
/// Steps, in the order of transformers' generate(); each is off by default:
///   1. repetition penalty r (Keskar et al. 2019, CTRL), on every token of prompt and text:
///      l > 0 ? l / r : l * r
///   2. frequency and presence penalty (as OpenAI's API has them), on tokens of the text:
///      l - count * frequency - presence
///   3. temperature T: p = softmax(l / T); T = 0 takes the largest l and ends here
///   4. top-k: the k largest
///   5. top-p (Holtzman et al. 2019): a token stays while those before it hold less than p
///   6. min-p (Nguyen et al. 2024): a token stays if its p is at least min_p of the largest
/// Of equal logits the one with the lowest id is first. One random number a token, from a generator
/// of our own: the same seed gives the same tokens on every platform.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace qeff {

struct SamplingOptions {
  float temperature = 0;         ///< 0: the most likely token, always.
  std::size_t top_k = 0;         ///< 0: off.
  float top_p = 1;               ///< (0, 1]; 1: off.
  float min_p = 0;               ///< [0, 1]; 0: off.
  float repetition_penalty = 1;  ///< Above 0; 1: off.
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::uint64_t seed = 0;
};

/// @throws InvalidArgument naming the field and its value.
void validate(const SamplingOptions& options);

/// SplitMix64 (Steele, Lea, Flood 2014).
class RandomBits {
 public:
  explicit RandomBits(std::uint64_t seed) noexcept : state_(seed) {}

  [[nodiscard]] std::uint64_t next() noexcept {
    state_ += 0x9E3779B97F4A7C15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  /// A multiple of 2^-53 in [0, 1).
  [[nodiscard]] double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  std::uint64_t state_;
};

/// The seed of the `index`-th of several texts from one prompt; the first has `seed` itself.
[[nodiscard]] std::uint64_t seed_of(std::uint64_t seed, std::size_t index) noexcept;

/// A token and its log-probability.
struct TokenLogProb {
  std::int32_t id = 0;
  float logprob = 0;
};

/// Chooses the tokens of one text. Allocates nothing after construction.
class Sampler {
 public:
  /// @throws InvalidArgument for bad options or an empty vocabulary.
  Sampler(const SamplingOptions& options, std::size_t vocab);

  /// Begins another text: nothing seen, generator at `seed`.
  void restart(std::uint64_t seed);
  /// Tells the tokens of the prompt, for the repetition penalty. Ids must be in the vocabulary.
  void see(std::span<const std::int32_t> prompt);
  /// The next token; from now on it is part of the text. NaN is never chosen.
  /// @throws InvalidArgument for a wrong number of logits, or if none of them is a number.
  [[nodiscard]] std::int32_t choose(std::span<const float> logits);

 private:
  struct Candidate {
    std::int32_t id = 0;
    float logit = 0;
    double weight = 0;  ///< exp((l - largest) / T)
  };

  [[nodiscard]] std::span<const float> penalized(std::span<const float> logits);
  [[nodiscard]] std::int32_t draw(std::span<const float> logits, float largest);
  void gather(std::span<const float> logits);
  void weigh(float largest);
  void keep_top_p();
  [[nodiscard]] std::int32_t pick();
  void count(std::int32_t id, std::uint32_t times);

  SamplingOptions options_;
  std::size_t vocab_;
  RandomBits random_;
  std::vector<float> scores_;  ///< Logits after penalties.
  std::vector<Candidate> candidates_;
  std::vector<std::uint32_t> counts_;  ///< By id: how often in the text.
  std::vector<std::uint8_t> known_;    ///< By id: whether in seen_.
  std::vector<std::int32_t> seen_;     ///< Tokens of prompt and text, each once.
};

/// log softmax(logits)[id], summed in double: what the model itself says, before any penalty.
[[nodiscard]] double log_probability(std::span<const float> logits, std::int32_t id);

/// The log-probabilities of the out.size() most likely tokens, best first.
void top_log_probabilities(std::span<const float> logits, std::span<TokenLogProb> out);

}  // namespace qeff
