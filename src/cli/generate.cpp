// qeff-run generate: continue a text.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>

#include "commands.hpp"
#include "interrupt.hpp"
#include "qeff/core/error.hpp"

namespace qeff::cli {
namespace {

struct Options {
  ModelOptions model;
  AnswerOptions answer;
  std::string prompt;
  std::vector<std::int32_t> prompt_ids;
  bool stream = isatty(STDOUT_FILENO) != 0;
  bool json = false;
};

std::string prompt_text(const std::string& prompt) {
  if (prompt != "-") return prompt;
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

void show(std::string_view piece) {
  fmt::print("{}", piece);
  std::fflush(stdout);
}

void print_text(const LanguageModel& model, const Answer& result, bool shown) {
  if (!model.has_tokenizer())
    fmt::print("{}", fmt::join(result.ids, " "));
  else if (!shown)
    fmt::print("{}", result.text);
  fmt::print("\n");
}

void run(const Options& options) {
  const LanguageModel model(options.model);
  const std::string text = prompt_text(options.prompt);
  const auto ids = options.prompt_ids.empty() ? model.tokenizer().encode(text) : options.prompt_ids;
  CausalSession session = model.session(1);
  const auto sequences = sequence_model(session);
  Generator generator(*sequences);
  const bool streams = options.stream && !options.json;
  const Answer result = answer(model, generator, ids, options.answer, [&](std::string_view piece) {
    if (streams) show(piece);
  });
  if (options.json)
    print_json({{"model", options.model.model},
                {"artifact", model.path()},
                {"prompt", text},
                {"text", result.text},
                {"ids", result.ids},
                {"finish_reason", result.reason},
                {"stats", stats_json(result.stats)}});
  else
    print_text(model, result, streams);
  if (result.reason == "interrupted") throw Interrupted();
}

}  // namespace

void add_generate(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand("generate", "Continue a text.");
  const auto options = std::make_shared<Options>();
  add_model_options(verb, options->model);
  CLI::Option* prompt =
      verb.add_option("-p,--prompt", options->prompt, "Text to continue; - is standard input.");
  CLI::Option* ids = verb.add_option("--prompt-ids", options->prompt_ids,
                                     "Token ids to continue, as in 1,15,7, instead of a text.")
                         ->delimiter(',')
                         ->allow_extra_args(false)
                         ->excludes(prompt);
  add_answer_options(verb, options->answer);
  verb.add_flag("--stream,!--no-stream", options->stream,
                "Print the text while it is generated. Default: if stdout is a terminal.");
  verb.add_flag("--json", options->json, "One JSON document on stdout.");
  verb.callback([options, prompt, ids] {
    if (prompt->empty() && ids->empty()) throw CLI::RequiredError("--prompt");
    run(*options);
  });
}

}  // namespace qeff::cli
