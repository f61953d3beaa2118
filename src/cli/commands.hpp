/// @file
/// The verbs of qeff-run. Each adds itself and its options to the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "answer.hpp"
#include "language_model.hpp"

namespace qeff::cli {

using Json = nlohmann::ordered_json;

void add_generate(CLI::App& app);
void add_chat(CLI::App& app);
void add_perplexity(CLI::App& app);
void add_bench(CLI::App& app);

/// MODEL and how to open it.
void add_model_options(CLI::App& verb, ModelOptions& options);
/// How tokens are chosen.
void add_answer_options(CLI::App& verb, AnswerOptions& options);

/// Prints one JSON document on stdout; bytes that are no UTF-8 become U+FFFD.
void print_json(const Json& json);
/// A file of the user as text. @throws IoError; FormatError if it is too large.
[[nodiscard]] std::string read_user_text(const std::string& path);
[[nodiscard]] Json stats_json(const GenerationStats& stats);

}  // namespace qeff::cli
