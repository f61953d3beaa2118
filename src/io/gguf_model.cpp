#include "io/gguf_model.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "io/model_file.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

// Which ones interleave: llama_model_rope_type() and the converters of llama.cpp.
constexpr std::array<GgufArchitecture, 3> kArchitectures{{
    {"llama", "llama", "LlamaForCausalLM", true},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", false},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", false},
}};

using NamePair = std::pair<std::string_view, std::string_view>;

constexpr std::array<NamePair, 3> kModelNames{
    {{"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}}};
constexpr std::array<NamePair, 11> kLayerNames{{{"attn_norm", "input_layernorm"},
                                                {"attn_q", "self_attn.q_proj"},
                                                {"attn_k", "self_attn.k_proj"},
                                                {"attn_v", "self_attn.v_proj"},
                                                {"attn_output", "self_attn.o_proj"},
                                                {"attn_q_norm", "self_attn.q_norm"},
                                                {"attn_k_norm", "self_attn.k_norm"},
                                                {"ffn_norm", "post_attention_layernorm"},
                                                {"ffn_gate", "mlp.gate_proj"},
                                                {"ffn_up", "mlp.up_proj"},
                                                {"ffn_down", "mlp.down_proj"}}};

template <std::size_t N>
std::string_view translate(std::string_view stem, const std::array<NamePair, N>& table) {
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const NamePair& pair) { return pair.first == stem; });
  return found == table.end() ? std::string_view() : found->second;
}

/// Tensors a config.json says in another way, or that run time computes.
bool is_derived(std::string_view name) {
  return name == "rope_freqs.weight" || name.ends_with(".attn_rot_embd") ||
         name.ends_with(".rope_freqs.weight");
}

std::size_t interleaved_heads(std::string_view name, std::size_t heads, std::size_t kv_heads) {
  if (name.find(".self_attn.q_proj.") != name.npos) return heads;
  return name.find(".self_attn.k_proj.") != name.npos ? kv_heads : 0;
}

std::map<std::string, ModelTensor, std::less<>> model_tensors(const GgufFile& file) {
  const GgufMetadata metadata(file);
  const GgufArchitecture& architecture = gguf_architecture(metadata);
  const std::string prefix = str(architecture.name, ".attention.");
  const std::size_t heads = metadata.required_size(prefix + "head_count");
  const std::size_t kv_heads = metadata.size(prefix + "head_count_kv").value_or(heads);
  std::map<std::string, ModelTensor, std::less<>> tensors;
  for (const GgufTensor& stored : file.table().tensors) {
    if (is_derived(stored.name)) continue;
    const std::string name = huggingface_name(stored.name);
    if (name.empty())
      throw Unsupported(str(file.path(), ": tensor '", stored.name, "' has no place in a ",
                            architecture.model_type, " model"));
    const std::size_t interleaved =
        architecture.interleaved_rotary ? interleaved_heads(name, heads, kv_heads) : 0;
    const auto [unused, fresh] =
        tensors.emplace(name, ModelTensor{stored.type, stored.shape, stored.data, interleaved});
    if (!fresh)
      throw FormatError(file.path(), str("tensor '", stored.name, "' is there twice as ", name));
  }
  return tensors;
}

}  // namespace

const GgufArchitecture& gguf_architecture(const GgufMetadata& metadata) {
  const auto name = metadata.text("general.architecture");
  if (!name) throw FormatError(metadata.file(), "has no key 'general.architecture'");
  if (metadata.size("split.count").value_or(1) > 1)
    throw Unsupported(metadata.file() +
                      ": is one part of a split GGUF file; merge the parts first");
  if (metadata.size(str(*name, ".expert_count")).value_or(0) > 0)
    throw Unsupported(metadata.file() + ": is a mixture of experts, which qeff cannot run");
  for (const GgufArchitecture& architecture : kArchitectures)
    if (architecture.name == *name) return architecture;
  std::string known;
  for (const GgufArchitecture& architecture : kArchitectures) known += str(" ", architecture.name);
  throw Unsupported(str(metadata.file(), ": GGUF architecture '", *name, "'; qeff reads", known));
}

std::string huggingface_name(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == name.npos) return {};
  const std::string_view kind = name.substr(dot);
  if (kind != ".weight" && kind != ".bias") return {};
  std::string_view stem = name.substr(0, dot);
  if (!stem.starts_with("blk.")) {
    const std::string_view found = translate(stem, kModelNames);
    return found.empty() ? std::string() : str(found, kind);
  }
  stem.remove_prefix(4);
  unsigned layer = 0;
  const auto [end, code] = std::from_chars(stem.data(), stem.data() + stem.size(), layer);
  const std::string_view rest = stem.substr(static_cast<std::size_t>(end - stem.data()));
  if (code != std::errc() || !rest.starts_with('.')) return {};
  const std::string_view found = translate(rest.substr(1), kLayerNames);
  return found.empty() ? std::string() : str("model.layers.", layer, ".", found, kind);
}

std::unique_ptr<const CheckpointSource> open_gguf_model(MappedFile mapped) {
  const auto file = std::make_shared<const GgufFile>(std::move(mapped));
  ModelParts parts;
  parts.config = gguf_config(*file);
  parts.tensors = model_tensors(*file);
  parts.texts = {{"tokenizer.json", [file] { return gguf_tokenizer(file->table(), file->path()); }},
                 {"tokenizer_config.json",
                  [file] { return gguf_tokenizer_config(file->table(), file->path()); }},
                 {"generation_config.json",
                  [file] { return gguf_generation_config(file->table(), file->path()); }}};
  return make_model_file(file->path(), std::move(parts), file);
}

}  // namespace qeff
