/// @file
/// One text from a model: tokens in, text out as it becomes certain, up to the first stop string.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "language_model.hpp"

namespace qeff::cli {

/// Cuts a text that arrives in pieces before the first stop string.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> strings) : strings_(std::move(strings)) {}
  /// What is certain not to begin a stop string.
  [[nodiscard]] std::string push(std::string_view piece);
  [[nodiscard]] bool stopped() const noexcept { return stopped_; }
  /// What was held back.
  [[nodiscard]] std::string finish();

 private:
  std::vector<std::string> strings_;
  std::string held_;
  bool stopped_ = false;
};

struct AnswerOptions {
  std::size_t max_new_tokens = 128;
  SamplingOptions sampling = {};
  std::vector<std::string> stop = {};
  std::size_t prompt_lookup_num_tokens = 0;
};

struct Answer {
  std::string text;  ///< Empty without a tokenizer.
  std::vector<std::int32_t> ids;
  std::string reason;  ///< Why it ended: a FinishReason's name, or "interrupted".
  GenerationStats stats;
};

/// @param show  Gets the text in pieces of whole characters.
/// @throws as Generator::generate.
[[nodiscard]] Answer answer(const LanguageModel& model, Generator& generator,
                            const std::vector<std::int32_t>& prompt, const AnswerOptions& options,
                            const std::function<void(std::string_view piece)>& show);

/// Tokens a second of prompt and text; the first token of a text belongs to its prompt.
[[nodiscard]] double prefill_speed(const GenerationStats& stats) noexcept;
[[nodiscard]] double decode_speed(const GenerationStats& stats) noexcept;

}  // namespace qeff::cli
