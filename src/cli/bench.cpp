// qeff-run bench: tokens a second of prompts (pp) and of texts (tg), as llama-bench names them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "commands.hpp"
#include "interrupt.hpp"
#include "qeff/core/error.hpp"
#include "qeff/kernels/isa.hpp"

namespace qeff::cli {
namespace {

struct Options {
  ModelOptions model;
  std::vector<std::size_t> prompts = {512}, texts = {128}, batches = {1};
  std::size_t repetitions = 5;
  bool json = false;
};

/// One thing to time: a prompt of so many tokens, or a text of so many after a prompt of one.
struct Case {
  std::size_t prompt, text, batch;
  [[nodiscard]] std::string name() const {
    return text == 0 ? fmt::format("pp{}", prompt) : fmt::format("tg{}", text);
  }
};

struct Figures {
  std::vector<double> samples;  ///< Tokens a second, of all sequences together.
  [[nodiscard]] double mean() const {
    double sum = 0;
    for (const double s : samples) sum += s;
    return sum / static_cast<double>(samples.size());
  }
  [[nodiscard]] double median() const {
    std::vector<double> sorted = samples;
    std::ranges::sort(sorted);
    const std::size_t half = sorted.size() / 2;
    return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }
  [[nodiscard]] double deviation() const {
    double sum = 0;
    for (const double s : samples) sum += (s - mean()) * (s - mean());
    return samples.size() < 2 ? 0 : std::sqrt(sum / static_cast<double>(samples.size() - 1));
  }
};

std::vector<std::int32_t> random_ids(RandomBits& random, std::size_t count, std::size_t vocab) {
  std::vector<std::int32_t> ids(count);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random.next() % vocab);
  return ids;
}

double tokens_per_second(Generator& generator, const Case& c, std::size_t vocab,
                         RandomBits& random) {
  std::vector<std::vector<std::int32_t>> prompts;
  for (std::size_t i = 0; i < c.batch; ++i)
    prompts.push_back(random_ids(random, c.text == 0 ? c.prompt : 1, vocab));
  generator.reset();
  const auto keep_on = [](const TokenEvent&) {
    check_interrupt();
    return true;
  };
  GenerationOptions options;
  options.max_new_tokens = c.text + 1;
  options.prefill_chunk = std::max<std::size_t>(512, c.batch);
  const GenerationStats stats = generator.generate(prompts, options, keep_on).stats;
  return c.text == 0 ? static_cast<double>(stats.prompt_tokens) / stats.prefill_seconds
                     : static_cast<double>(c.text * c.batch) / stats.decode_seconds;
}

Figures measure(const LanguageModel& model, const Case& c, std::size_t repetitions) {
  CausalSession session = model.session(c.batch, std::max(c.prompt, c.text) + 2);
  const auto sequences = sequence_model(session);
  Generator generator(*sequences);
  RandomBits random(1);
  const std::size_t vocab = model.model().vocab_size();
  (void)tokens_per_second(generator, c, vocab, random);  // warms up
  Figures figures;
  for (std::size_t i = 0; i < repetitions; ++i)
    figures.samples.push_back(tokens_per_second(generator, c, vocab, random));
  return figures;
}

void run(const Options& options) {
  const LanguageModel model(options.model);
  std::vector<Case> cases;
  for (const std::size_t batch : options.batches) {
    for (const std::size_t n : options.prompts)
      if (n > 0) cases.push_back({n, 0, batch});
    for (const std::size_t n : options.texts)
      if (n > 0) cases.push_back({0, n, batch});
  }
  Json rows = Json::array();
  if (!options.json)
    fmt::print("| test | batch | tokens/s | ± | median |\n| --- | --: | --: | --: | --: |\n");
  for (const Case& c : cases) {
    const Figures f = measure(model, c, options.repetitions);
    rows.push_back({{"test", c.name()},
                    {"batch", c.batch},
                    {"tokens_per_second", f.mean()},
                    {"deviation", f.deviation()},
                    {"median", f.median()},
                    {"samples", f.samples}});
    if (options.json) continue;
    fmt::print("| {} | {} | {:.2f} | {:.2f} | {:.2f} |\n", c.name(), c.batch, f.mean(),
               f.deviation(), f.median());
    std::fflush(stdout);
  }
  if (options.json)
    print_json({{"model", options.model.model},
                {"artifact", model.path()},
                {"threads", model.model().threads()},
                {"kv_cache", options.model.kv_cache},
                {"rows", rows}});
}

}  // namespace

void add_bench(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand("bench", "Time prompts and texts of random tokens.");
  const auto options = std::make_shared<Options>();
  add_model_options(verb, options->model);
  const auto list = [&](const char* name, std::vector<std::size_t>& values, const char* help) {
    verb.add_option(name, values, help)
        ->delimiter(',')
        ->allow_extra_args(false)
        ->capture_default_str();
  };
  list("-p,--prompt-tokens", options->prompts, "Tokens of prompts to time; 0: none.");
  list("-n,--new-tokens", options->texts, "Tokens of texts to time; 0: none.");
  list("-b,--batch", options->batches, "Sequences at once.");
  verb.add_option("-r,--repetitions", options->repetitions, "Runs of each, after one to warm up.")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb.add_flag("--json", options->json, "One JSON document on stdout instead of Markdown.");
  verb.callback([options] { run(*options); });
}

}  // namespace qeff::cli
