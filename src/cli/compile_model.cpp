#include "compile_model.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string_view>

#include "interrupt.hpp"
#include "model_texts.hpp"
#include "qeff/core/cache_directory.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/checkpoint.hpp"
#include "qeff/io/mapped_file.hpp"
#include "qeff/nn/compile_causal_lm.hpp"
#include "qeff/version.hpp"

namespace qeff::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kCalibrationTokens = 512, kCalibrationRows = 128;
constexpr std::size_t kMaxTextBytes = std::size_t{64} << 20;

/// What the names stand for, as in python/qeff/schemes.py: groups of 64, whose int8 activations
/// have a scale of their own.
constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kSchemes{{
    {"int8", R"({"method": "affine", "bits": 8, "group_size": 64})"},
    {"int4",
     R"({"method": "affine", "bits": 4, "group_size": 64, "symmetric": false, "activations": "int8"})"},
    {"awq",
     R"({"method": "awq", "bits": 4, "group_size": 64, "symmetric": false, "activations": "int8"})"},
    {"gptq",
     R"({"method": "gptq", "bits": 4, "group_size": 64, "symmetric": false, "activations": "int8"})"},
    {"fp8", R"({"method": "fp8", "fp8_format": "e4m3"})"},
    {"fp8_e5m2", R"({"method": "fp8", "fp8_format": "e5m2"})"},
    {"nf4", R"({"method": "codebook", "codebook": "nf4", "group_size": 64})"},
    {"fp4", R"({"method": "codebook", "codebook": "fp4", "group_size": 64})"},
    {"none", R"({"method": "none", "embedding_bits": 32})"},
}};

QuantizationConfig recipe_of(const std::string& scheme) {
  for (const auto& [name, json] : kSchemes)
    if (name == scheme) return quantization_config_from_json(std::string(json));
  throw InvalidArgument(
      fmt::format("--quantization {}: is not one of {}", scheme, fmt::join(scheme_names(), ", ")));
}

fs::path made_cache_directory() {
  const fs::path base = cache_directory();
  std::error_code code;
  fs::create_directories(base, code);
  if (code) throw IoError(base.string(), code.message(), code.value());
  return base;
}

void add_facts(std::string& facts, const fs::path& file) {
  std::error_code code;
  const auto size = fs::file_size(file, code);
  const auto time = fs::last_write_time(file, code).time_since_epoch().count();
  facts += fmt::format("{} {} {}\n", file.string(), size, time);
}

/// A name for the result: files count by name, size and time of change, and so does this program.
std::string fingerprint(const ModelOptions& options, const QuantizationConfig& recipe) {
  std::string facts = fmt::format("{}\n{}\n", version, to_json(recipe));
  add_facts(facts, fs::path("/proc/self/exe"));
  if (!options.calibration.empty()) add_facts(facts, fs::absolute(options.calibration));
  const fs::path model = fs::absolute(options.model);
  std::vector<fs::path> files;
  if (fs::is_directory(model))
    for (const auto& entry : fs::recursive_directory_iterator(model)) files.push_back(entry.path());
  else
    files.push_back(model);
  std::ranges::sort(files);
  for (const fs::path& file : files) add_facts(facts, file);
  return fmt::format("{:016x}", XXH3_64bits(facts.data(), facts.size()));
}

bool is_whole_artifact(const fs::path& path) {
  if (!fs::is_regular_file(path)) return false;
  try {
    (void)Artifact::open(path.string());
    return true;
  } catch (const FormatError&) {
    return false;  // damaged: compiled again
  }
}

/// Tokens of all lines one after the other, cut into blocks; the rest only if it is all.
TokenBatch calibration_tokens(const ModelOptions& options, const Checkpoint& checkpoint) {
  if (options.calibration.empty())
    throw InvalidArgument(fmt::format(
        "--quantization {} needs --calibration FILE, texts one a line", options.quantization));
  const ReadText read = [&](const std::string& name) { return checkpoint.read_text(name); };
  const BpeTokenizer tokenizer = make_tokenizer(read, options.model);
  std::istringstream lines(read_text_file(options.calibration, kMaxTextBytes));
  TokenBatch batch;
  for (std::string line; std::getline(lines, line);) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto ids = tokenizer.encode(line);
    batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
  }
  if (batch.ids.empty()) throw InvalidArgument(options.calibration + ": has no text");
  const std::size_t length =
      std::min(kCalibrationTokens, stated_positions(read, kCalibrationTokens));
  const std::size_t rows = std::min(batch.ids.size() / length, kCalibrationRows);
  if (rows == 0) {
    batch.offsets = {0, batch.ids.size()};
    return batch;
  }
  for (std::size_t row = 0; row <= rows; ++row) batch.offsets.push_back(row * length);
  batch.ids.resize(rows * length);
  return batch;
}

void show_progress(std::size_t done, std::size_t total, const std::string& what) {
  check_interrupt();
  if (isatty(STDERR_FILENO) != 0) {
    fmt::print(stderr, "\r\033[Kcompile {}/{} {}{}", done, total, what, done == total ? "\n" : "");
    std::fflush(stderr);
  }
}

}  // namespace

std::vector<std::string> scheme_names() {
  std::vector<std::string> names;
  for (const auto& [name, unused] : kSchemes) names.emplace_back(name);
  return names;
}

std::string compiled_path(const ModelOptions& options) {
  const QuantizationConfig recipe = recipe_of(options.quantization);
  const auto checkpoint = Checkpoint::open(options.model);
  const std::string stem = fs::absolute(options.model).lexically_normal().stem().string();
  const fs::path out =
      made_cache_directory() / fmt::format("{}-{}-run-{}.qeff", stem.empty() ? "model" : stem,
                                           options.quantization, fingerprint(options, recipe));
  if (is_whole_artifact(out)) return out.string();
  TokenBatch tokens;
  if (recipe.needs_calibration()) tokens = calibration_tokens(options, *checkpoint);
  CompileOptions compile;
  compile.threads = options.threads;
  compile.progress = show_progress;
  compile_causal_lm(*checkpoint, recipe, tokens, compile, out.string());
  return out.string();
}

}  // namespace qeff::cli
