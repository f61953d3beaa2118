#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>
#include <span>
#include <vector>

#include "io/gguf_model.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using Json = nlohmann::ordered_json;

const GgufTensor* find_tensor(const GgufFile& file, std::string_view name) {
  const auto& tensors = file.table().tensors;
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const GgufTensor& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

/// The number whoever wrote the float meant: the shortest decimal that rounds to it.
double as_written(double value) {
  std::array<char, 32> text;
  const auto written =
      std::to_chars(text.data(), text.data() + text.size(), static_cast<float>(value));
  double shortest = value;
  (void)std::from_chars(text.data(), written.ptr, shortest);
  return shortest;
}

struct Llama3Rope {
  double factor, low = 1.0, high = 4.0, context = 8192.0;
};

/// What the frequency of index i is divided by. Source: rope_scaling "llama3" of transformers.
double llama3_divisor(const Llama3Rope& rope, double theta, std::size_t i, std::size_t head) {
  const double wavelength =
      2 * std::numbers::pi *
      std::pow(theta, 2.0 * static_cast<double>(i) / static_cast<double>(head));
  if (wavelength < rope.context / rope.high) return 1.0;
  if (wavelength > rope.context / rope.low) return rope.factor;
  const double smooth = (rope.context / wavelength - rope.low) / (rope.high - rope.low);
  return 1.0 / ((1.0 - smooth) / rope.factor + smooth);
}

class ConfigWriter {
 public:
  explicit ConfigWriter(const GgufFile& file)
      : file_(file), metadata_(file), architecture_(gguf_architecture(metadata_)) {}

  Json write() {
    sizes();
    rotary();
    attention();
    tokens();
    config_["torch_dtype"] = dtype();
    return config_;
  }

 private:
  [[nodiscard]] std::string key(std::string_view name) const {
    return str(architecture_.name, ".", name);
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw Unsupported(file_.path() + ": " + what + ", which qeff cannot run");
  }

  void sizes() {
    heads_ = metadata_.required_size(key("attention.head_count"));
    hidden_ = metadata_.required_size(key("embedding_length"));
    config_["architectures"] = Json::array({architecture_.model_class});
    config_["model_type"] = architecture_.model_type;
    config_["hidden_size"] = hidden_;
    config_["intermediate_size"] = metadata_.required_size(key("feed_forward_length"));
    config_["num_hidden_layers"] = metadata_.required_size(key("block_count"));
    config_["num_attention_heads"] = heads_;
    config_["num_key_value_heads"] = metadata_.size(key("attention.head_count_kv"))
                                         ? metadata_.required_size(key("attention.head_count_kv"))
                                         : heads_;
    config_["hidden_act"] = "silu";
    config_["max_position_embeddings"] = metadata_.required_size(key("context_length"));
    const GgufTensor* embedding = find_tensor(file_, "token_embd.weight");
    if (embedding == nullptr || embedding->shape.size() != 2)
      throw FormatError(file_.path(), "has no matrix 'token_embd.weight'");
    config_["vocab_size"] = embedding->shape.front();
    config_["tie_word_embeddings"] = find_tensor(file_, "output.weight") == nullptr;
    const auto epsilon = metadata_.number(key("attention.layer_norm_rms_epsilon"));
    if (!epsilon)
      throw FormatError(file_.path(),
                        "has no key '" + key("attention.layer_norm_rms_epsilon") + "'");
    config_["rms_norm_eps"] = as_written(*epsilon);
  }

  void rotary() {
    const auto length = metadata_.size(key("attention.key_length"));
    if (!length && hidden_ % heads_ != 0)
      throw FormatError(file_.path(), str(heads_, " heads do not share ", hidden_, " values"));
    head_ = length.value_or(hidden_ / heads_);
    if (length) config_["head_dim"] = head_;
    if (metadata_.size(key("attention.value_length")).value_or(head_) != head_)
      refuse("heads of keys and values differ in size");
    if (metadata_.size(key("rope.dimension_count")).value_or(head_) != head_)
      refuse("the rotary embedding covers a part of each head");
    theta_ = as_written(metadata_.number(key("rope.freq_base")).value_or(10000.0));
    config_["rope_theta"] = theta_;
    const Json scaling = rope_scaling();
    if (!scaling.is_null()) config_["rope_scaling"] = scaling;
  }

  [[nodiscard]] Json rope_scaling() const {
    if (const GgufTensor* factors = find_tensor(file_, "rope_freqs.weight"))
      return llama3_scaling(*factors);
    const auto type = metadata_.text(key("rope.scaling.type"));
    if (!type || *type == "none") return {};
    const auto factor = metadata_.number(key("rope.scaling.factor"));
    if (!factor) throw FormatError(file_.path(), "has no key '" + key("rope.scaling.factor") + "'");
    Json scaling{{"rope_type", *type}, {"factor", as_written(*factor)}};
    if (*type == "yarn") {
      const auto original = metadata_.size(key("rope.scaling.original_context_length"));
      if (original) scaling["original_max_position_embeddings"] = *original;
    } else if (*type != "linear") {
      refuse(str("rope scaling '", *type, "'"));
    }
    return scaling;
  }

  /// The factors themselves are stored, not the rule that made them: the one rule that is used
  /// (Llama 3.1 and later) is tried.
  [[nodiscard]] Json llama3_scaling(const GgufTensor& factors) const {
    if (factors.type != GgmlType::f32 || factors.elements() != head_ / 2 || head_ < 2)
      throw FormatError(file_.path(), "tensor 'rope_freqs.weight' is not a float per frequency");
    std::vector<float> stored(factors.elements());
    dequantize_ggml(factors.type, factors.data, stored);
    const Llama3Rope rope{std::round(double{stored.back()})};
    for (std::size_t i = 0; i < stored.size(); ++i) {
      const double expected = llama3_divisor(rope, theta_, i, head_);
      if (!(std::abs(double{stored[i]} - expected) <= 1e-3 * expected))
        refuse("the frequency factors in 'rope_freqs.weight' follow no known rule");
    }
    return Json{{"rope_type", "llama3"},
                {"factor", rope.factor},
                {"low_freq_factor", rope.low},
                {"high_freq_factor", rope.high},
                {"original_max_position_embeddings", static_cast<int>(rope.context)}};
  }

  void attention() {
    const bool bias = find_tensor(file_, "blk.0.attn_q.bias") != nullptr;
    if (architecture_.model_type != "qwen2") config_["attention_bias"] = bias;
    if (architecture_.model_type == "llama")
      config_["mlp_bias"] = find_tensor(file_, "blk.0.ffn_up.bias") != nullptr;
  }

  void tokens() {
    for (const std::string_view name : {"bos", "eos"})
      config_[str(name, "_token_id")] = token_id(name);
  }

  [[nodiscard]] Json token_id(std::string_view name) const {
    const auto id = metadata_.size(str("tokenizer.ggml.", name, "_token_id"));
    return id && *id < config_["vocab_size"].get<std::size_t>() ? Json(*id) : Json();
  }

  /// What the weights deserve when they are computed with: quantized ones came from 16 bits.
  [[nodiscard]] std::string_view dtype() const {
    switch (find_tensor(file_, "token_embd.weight")->type) {
      case GgmlType::f32:
        return "float32";
      case GgmlType::f16:
        return "float16";
      default:
        return "bfloat16";
    }
  }

  const GgufFile& file_;
  GgufMetadata metadata_;
  const GgufArchitecture& architecture_;
  std::size_t hidden_ = 0, heads_ = 0, head_ = 0;
  double theta_ = 0.0;
  Json config_;
};

}  // namespace

std::string gguf_config(const GgufFile& file) { return ConfigWriter(file).write().dump(2) + "\n"; }

}  // namespace qeff
