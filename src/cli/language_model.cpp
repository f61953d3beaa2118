#include "language_model.hpp"

#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <utility>

#include "compile_model.hpp"
#include "model_texts.hpp"
#include "qeff/core/error.hpp"

namespace qeff::cli {
namespace {

bool is_artifact(const std::string& path) {
  constexpr std::string_view magic = "QEFF";
  std::array<char, magic.size()> begin{};
  std::ifstream file(path, std::ios::binary);
  return file.read(begin.data(), begin.size()) && std::string_view(begin.data(), 4) == magic;
}

std::string artifact_of(const ModelOptions& options) {
  if (!std::filesystem::exists(options.model))
    throw IoError(options.model, "no such file or directory", ENOENT);
  return is_artifact(options.model) ? options.model : compiled_path(options);
}

ReadText texts_of(const CausalLm& model) {
  return [&artifact = model.artifact()](const std::string& name) {
    const std::string entry = "file/" + name;
    if (!artifact.contains(entry)) return std::string();
    const TensorView& text = artifact.tensor(entry);
    return std::string(reinterpret_cast<const char*>(text.data), text.nbytes);
  };
}

KvFormat kv_format(const std::string& name) {
  if (name == "f32") return KvFormat::f32;
  if (name == "int8") return KvFormat::int8;
  if (name == "bf16") return KvFormat::bf16;
  throw InvalidArgument("--kv-cache " + name + ": is not one of bf16, int8, f32");
}

}  // namespace

LanguageModel::LanguageModel(const ModelOptions& options)
    : options_(options), model_(load_causal_lm(artifact_of(options), options.threads)) {
  try {
    tokenizer_ = make_tokenizer(texts_of(model_), path());
  } catch (const Unsupported& reason) {
    no_tokenizer_ = reason.what();
  }
  eos_ids_ = find_eos_ids();
}

std::vector<std::int32_t> LanguageModel::find_eos_ids() const {
  const ReadText read = texts_of(model_);
  std::vector<std::int32_t> ids = stated_eos_ids(read);
  if (!ids.empty() || !tokenizer_) return ids;
  if (const auto id = tokenizer_->token_id(special_token(read, "eos_token"))) ids.push_back(*id);
  return ids;
}

const BpeTokenizer& LanguageModel::tokenizer() const {
  if (!tokenizer_) throw Unsupported(no_tokenizer_);
  return *tokenizer_;
}

ChatTemplate LanguageModel::chat_template() const {
  const ReadText read = texts_of(model_);
  std::string program = chat_program(read);
  if (program.empty())
    throw Unsupported(path() + ": has no chat template; generate from a prompt instead");
  return {std::move(program), special_token(read, "bos_token"), special_token(read, "eos_token")};
}

CausalSession LanguageModel::session(std::size_t sequences, std::size_t ctx_len) const {
  return {model_,
          {.sequences = sequences,
           .ctx_len = ctx_len == 0 ? options_.ctx_len : ctx_len,
           .kv_cache = kv_format(options_.kv_cache)}};
}

}  // namespace qeff::cli
