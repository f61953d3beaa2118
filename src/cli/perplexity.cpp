// qeff-run perplexity: how well a model foretells a text.
#include "qeff/nn/perplexity.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "commands.hpp"
#include "interrupt.hpp"
#include "qeff/core/error.hpp"

namespace qeff::cli {
namespace {

constexpr std::size_t kMostSequences = 8;

struct Options {
  ModelOptions model;
  std::string file;
  std::size_t ctx = 512, tokens = 0;
  bool json = false;
};

void show_progress(std::size_t done, std::size_t total) {
  check_interrupt();
  if (isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\r\033[K{}/{} tokens{}", done, total, done == total ? "\n" : "");
  std::fflush(stderr);
}

Perplexity measure(const LanguageModel& model, const Options& options) {
  auto ids = model.tokenizer().encode(read_user_text(options.file));
  if (options.tokens != 0 && options.tokens < ids.size()) ids.resize(options.tokens);
  const std::size_t contexts = std::max<std::size_t>(ids.size() / options.ctx, 1);
  const std::size_t length = std::max<std::size_t>(std::min(options.ctx, ids.size()), 1);
  CausalSession session = model.session(std::min(contexts, kMostSequences), length);
  Executor executor(options.model.threads);
  return perplexity(*sequence_model(session), ids, {.ctx = options.ctx, .progress = show_progress},
                    executor);
}

void run(const Options& options) {
  const LanguageModel model(options.model);
  const Perplexity result = measure(model, options);
  const Json json{{"model", options.model.model},
                  {"artifact", model.path()},
                  {"text", options.file},
                  {"ctx", options.ctx},
                  {"perplexity", result.perplexity()},
                  {"mean_loss", result.mean_loss},
                  {"standard_error", result.standard_error},
                  {"contexts", result.contexts},
                  {"predictions", result.predictions}};
  if (options.json) return print_json(json);
  for (const auto& [key, value] : json.items())
    fmt::print("{:<14}  {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
}

}  // namespace

void add_perplexity(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "perplexity",
      "Perplexity of a text: exp of the mean loss of tokens 2 to CTX of each context.");
  const auto options = std::make_shared<Options>();
  add_model_options(verb, options->model);
  verb.add_option("FILE", options->file, "The text, UTF-8.")->required();
  verb.add_option("--ctx", options->ctx, "Tokens of a context; contexts do not overlap.")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  verb.add_option("--tokens", options->tokens, "Use the first tokens only. Default: all.")
      ->check(CLI::Range(2, 1 << 30));
  verb.add_flag("--json", options->json, "One JSON document on stdout.");
  verb.callback([options] { run(*options); });
}

}  // namespace qeff::cli
