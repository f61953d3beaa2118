#include "commands.hpp"

#include <fmt/format.h>

#include <cmath>

#include "compile_model.hpp"
#include "qeff/io/mapped_file.hpp"

namespace qeff::cli {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;

double rounded(double value) { return std::round(value * 1e4) / 1e4; }

}  // namespace

void add_model_options(CLI::App& verb, ModelOptions& options) {
  verb.add_option("MODEL", options.model,
                  "A .qeff artifact; or a GGUF or llama2.c file or a Hugging Face directory, which "
                  "is compiled into the cache first.")
      ->required();
  verb.add_option("-q,--quantization", options.quantization, "How to compile.")
      ->check(CLI::IsMember(scheme_names()))
      ->capture_default_str();
  verb.add_option("--calibration", options.calibration, "Texts for awq and gptq, one a line.");
  verb.add_option("-t,--threads", options.threads, "Default: all.");
  verb.add_option("-c,--ctx-len", options.ctx_len,
                  "Tokens of prompt and text together. Default: up to 4096.");
  verb.add_option("--kv-cache", options.kv_cache, "How keys and values are kept.")
      ->check(CLI::IsMember({"bf16", "int8", "f32"}))
      ->capture_default_str();
}

void add_answer_options(CLI::App& verb, AnswerOptions& options) {
  SamplingOptions& sampling = options.sampling;
  verb.add_option("-n,--max-new-tokens", options.max_new_tokens, "Most tokens to generate.")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb.add_option("--temperature", sampling.temperature, "0: always the most likely token.")
      ->capture_default_str();
  verb.add_option("--top-k", sampling.top_k, "Sample from the k most likely tokens; 0: all.")
      ->capture_default_str();
  verb.add_option("--top-p", sampling.top_p, "Sample from the tokens that hold this probability.")
      ->capture_default_str();
  verb.add_option("--min-p", sampling.min_p, "Least probability, as a share of the largest.")
      ->capture_default_str();
  verb.add_option("--repetition-penalty", sampling.repetition_penalty,
                  "Above 1 tokens seen before become less likely.")
      ->capture_default_str();
  verb.add_option("--seed", sampling.seed, "Of the random numbers.")->capture_default_str();
  verb.add_option("--stop", options.stop, "Text that ends the answer; repeatable.")
      ->allow_extra_args(false)
      ->check([](const std::string& text) { return text.empty() ? "is empty" : ""; }, "TEXT");
  verb.add_option("--prompt-lookup-num-tokens", options.prompt_lookup_num_tokens,
                  "Tokens to guess from the text so far and verify together; 0: none.")
      ->capture_default_str();
}

void print_json(const Json& json) {
  fmt::print("{}\n", json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

std::string read_user_text(const std::string& path) { return read_text_file(path, kMaxTextBytes); }

Json stats_json(const GenerationStats& s) {
  return {{"prompt_tokens", s.prompt_tokens},
          {"reused_tokens", s.reused_tokens},
          {"generated_tokens", s.generated_tokens},
          {"runs", s.runs},
          {"proposed_tokens", s.proposed_tokens},
          {"accepted_tokens", s.accepted_tokens},
          {"prefill_seconds", rounded(s.prefill_seconds)},
          {"decode_seconds", rounded(s.decode_seconds)},
          {"prefill_tokens_per_second", rounded(prefill_speed(s))},
          {"decode_tokens_per_second", rounded(decode_speed(s))}};
}

}  // namespace qeff::cli
