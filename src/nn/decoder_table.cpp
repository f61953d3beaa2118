#include <algorithm>
#include <array>

#include "qeff/nn/decoder_architecture.hpp"

namespace qeff {
namespace {

constexpr DecoderArchitecture llama(std::string_view model_type) {
  return {.model_type = model_type};
}

constexpr DecoderArchitecture qwen3() {
  DecoderArchitecture a = llama("qwen3");
  a.q_norm = "layers.{}.self_attn.q_norm";
  a.k_norm = "layers.{}.self_attn.k_norm";
  return a;
}

constexpr DecoderArchitecture smollm3() {
  DecoderArchitecture a = llama("smollm3");
  a.tied = true;
  return a;
}

constexpr DecoderArchitecture gemma() {
  DecoderArchitecture a = llama("gemma");
  a.norm = NormKind::rms_one;
  a.tied = true;
  a.activation = "gelu_pytorch_tanh";
  return a;
}

constexpr DecoderArchitecture gemma2() {
  DecoderArchitecture a = gemma();
  a.model_type = "gemma2";
  a.post_attn_norm = "layers.{}.post_attention_layernorm";
  a.ffn_norm = "layers.{}.pre_feedforward_layernorm";
  a.post_ffn_norm = "layers.{}.post_feedforward_layernorm";
  return a;
}

constexpr DecoderArchitecture gemma3() {
  DecoderArchitecture a = gemma2();
  a.model_type = "gemma3_text";
  a.q_norm = "layers.{}.self_attn.q_norm";
  a.k_norm = "layers.{}.self_attn.k_norm";
  return a;
}

constexpr DecoderArchitecture phi3() {
  DecoderArchitecture a = llama("phi3");
  a.qkv_layout = QkvLayout::stacked;
  a.qkv = "layers.{}.self_attn.qkv_proj";
  a.gate_up = "layers.{}.mlp.gate_up_proj";
  a.eps = 1e-5;
  return a;
}

constexpr DecoderArchitecture kGpt2{
    .model_type = "gpt2",
    .prefix = "transformer.",
    .words = "wte",
    .positions = "wpe",
    .final_norm = "ln_f",
    .qkv_layout = QkvLayout::stacked,
    .qkv = "h.{}.attn.c_attn",
    .attn_out = "h.{}.attn.c_proj",
    .gate = "",
    .up = "h.{}.mlp.c_fc",
    .down = "h.{}.mlp.c_proj",
    .attn_norm = "h.{}.ln_1",
    .ffn_norm = "h.{}.ln_2",
    .norm = NormKind::layer,
    .transposed = true,
    .biases = true,
    .rotary = false,
    .tied = true,
    .activation = "gelu_new",
    .eps = 1e-5,
};

constexpr DecoderArchitecture kOpt{
    .model_type = "opt",
    .prefix = "model.decoder.",
    .positions = "embed_positions",
    .final_norm = "final_layer_norm",
    .attn_out = "layers.{}.self_attn.out_proj",
    .gate = "",
    .up = "layers.{}.fc1",
    .down = "layers.{}.fc2",
    .attn_norm = "layers.{}.self_attn_layer_norm",
    .ffn_norm = "layers.{}.final_layer_norm",
    .norm = NormKind::layer,
    .rotary = false,
    .tied = true,
    .position_offset = 2,
    .activation = "relu",
    .eps = 1e-5,
};

constexpr DecoderArchitecture kGptNeoX{
    .model_type = "gpt_neox",
    .prefix = "gpt_neox.",
    .words = "embed_in",
    .final_norm = "final_layer_norm",
    .lm_head = "embed_out",
    .qkv_layout = QkvLayout::by_head,
    .qkv = "layers.{}.attention.query_key_value",
    .attn_out = "layers.{}.attention.dense",
    .gate = "",
    .up = "layers.{}.mlp.dense_h_to_4h",
    .down = "layers.{}.mlp.dense_4h_to_h",
    .norm = NormKind::layer,
    .activation = "gelu",
    .eps = 1e-5,
};

constexpr std::array kArchitectures{
    llama("llama"), llama("mistral"), llama("qwen2"), qwen3(), smollm3(), gemma(),
    gemma2(),       gemma3(),         phi3(),         kGpt2,   kOpt,      kGptNeoX};

}  // namespace

std::span<const DecoderArchitecture> decoder_architectures() noexcept { return kArchitectures; }

const DecoderArchitecture* find_decoder_architecture(std::string_view model_type) noexcept {
  const auto it = std::ranges::find(kArchitectures, model_type, &DecoderArchitecture::model_type);
  return it == kArchitectures.end() ? nullptr : &*it;
}

}  // namespace qeff
