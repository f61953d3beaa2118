#include "qeff/nn/compile_encoder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <filesystem>

#include "nn/calibration.hpp"
#include "nn/checkpoint_tensors.hpp"
#include "nn/encoder_artifact.hpp"
#include "nn/model_files.hpp"
#include "nn/smoothing.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/artifact.hpp"
#include "qeff/io/atomic_file.hpp"
#include "qeff/quant/affine.hpp"

namespace qeff {
namespace {

using nn::Linear;
using nn::NamedWeight;
using nn::QuantizedLinear;

/// One linear between quantization and artifact.
struct CompiledLinear {
  QuantizedLinear quantized;
  std::vector<float> bias;
  kernels::PackedMatrix packed;
};

struct CompiledLayer {
  CompiledLinear qkv, attn_out, ffn1, ffn2;
};

/// What the calibration runs a linear as: the quantized weights, or the float ones.
struct Runnable {
  kernels::PackedMatrix floats;
  Linear linear;
};

/// Whether compilation may read this file of the model directory.
bool is_input(const std::filesystem::directory_entry& entry) {
  const auto extension = entry.path().extension();
  return entry.is_regular_file() &&
         (extension == ".safetensors" || extension == ".json" || extension == ".txt");
}

/// Fails now rather than after the work if `out` cannot be written or is one of the inputs.
void check_output(const std::string& out, const std::string& directory) {
  std::vector<std::string> inputs;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    if (is_input(entry)) inputs.push_back(entry.path().string());
  const AtomicFile probe(out, inputs);
}

class Compiler {
 public:
  Compiler(const Checkpoint& checkpoint, const QuantizationConfig& config,
           const CompileOptions& options)
      : checkpoint_(checkpoint),
        config_(config),
        options_(options),
        executor_(options.threads),
        shape_(encoder_shape(checkpoint.config(), checkpoint.directory() + "/config.json")),
        tensors_(checkpoint, shape_) {}

  std::vector<LayerReport> run(const TokenBatch& tokens, const std::string& out_path);

 private:
  using Inputs = nn::InputStatistics;

  void step(const std::string& what) {
    if (options_.progress) options_.progress(done_, shape_.layers * 4 + 2, what);
    ++done_;
  }
  const float* keep(std::vector<float> values) {
    return kept_.emplace_back(std::move(values)).data();
  }
  nn::Norm keep(nn::NormValues norm) {
    return {keep(std::move(norm.gamma)), keep(std::move(norm.beta))};
  }

  void read_embeddings();
  void quantize_words(const NamedWeight& words);
  void compile_layer(std::size_t i, nn::Calibration* calibration);
  CompiledLinear compile_linear(std::size_t i, const nn::LinearSize& size,
                                std::span<const std::string_view> names, const Inputs& inputs);
  Runnable runnable(const CompiledLinear& compiled, std::size_t i, const nn::LinearSize& size,
                    std::span<const std::string_view> names);
  std::vector<NamedWeight> weights(std::size_t i, const nn::LinearSize& size,
                                   std::span<const std::string_view> names) const;
  void fold_into_values(CompiledLayer& layer);
  nn::EncoderMetadata metadata() const;
  void write(const std::string& out_path);
  void add_norm(ArtifactWriter& writer, const std::string& name, const nn::Norm& norm) const;
  void add_layers(ArtifactWriter& writer) const;

  const Checkpoint& checkpoint_;
  const QuantizationConfig& config_;
  const CompileOptions& options_;
  Executor executor_;
  EncoderShape shape_;
  nn::CheckpointTensors tensors_;
  nn::EncoderModel model_;  // embeddings and norms
  std::deque<std::vector<float>> kept_;
  QuantizedMatrix words_;
  const float* attention_bias_ = nullptr;
  std::vector<CompiledLayer> layers_;
  std::vector<LayerReport> reports_;
  std::size_t done_ = 0;
  bool sampled_ = false;  // statistics of nn::vocabulary_sample
};

void Compiler::quantize_words(const NamedWeight& words) {
  words_ = quantize_affine(words.view(), AffineConfig{});
  model_.words.codes = reinterpret_cast<const std::int8_t*>(words_.codes.data());
  model_.words.scales = words_.scales.data();
}

void Compiler::read_embeddings() {
  const Architecture& names = tensors_.architecture();
  const std::size_t hidden = shape_.hidden;
  model_.shape = shape_;
  NamedWeight words = tensors_.matrix(names.words, shape_.vocab, hidden);
  model_.words.rows = shape_.vocab;
  if (config_.embedding_bits == 8)
    quantize_words(words);
  else
    model_.words.values = keep(std::move(words.values));
  model_.positions = {
      .rows = shape_.positions,
      .values = keep(tensors_.matrix(names.positions, shape_.positions, hidden).values)};
  if (shape_.types)
    model_.types = {.rows = shape_.types,
                    .values = keep(tensors_.matrix(names.types, shape_.types, hidden).values)};
  model_.embedding_norm = keep(tensors_.norm(names.embedding_norm, hidden));
  if (shape_.attention_buckets) {
    attention_bias_ =
        keep(tensors_.matrix(names.attention_bias, shape_.attention_buckets, shape_.heads).values);
    model_.distance_bias = nn::expand_distance_bias(attention_bias_, shape_);
  }
}

std::vector<NamedWeight> Compiler::weights(std::size_t i, const nn::LinearSize& size,
                                           std::span<const std::string_view> names) const {
  std::vector<NamedWeight> parts;
  for (const auto name : names)
    parts.push_back(tensors_.matrix(name, size.n / names.size(), size.k, i));
  return parts;
}

CompiledLinear Compiler::compile_linear(std::size_t i, const nn::LinearSize& size,
                                        std::span<const std::string_view> names,
                                        const Inputs& inputs) {
  step(nn::layer_entry(i, size.name));
  CompiledLinear compiled;
  QuantizationConfig recipe = config_;
  if (!size.after_norm) recipe.smooth = 0;
  compiled.quantized = nn::quantize_linear(weights(i, size, names), inputs, recipe, executor_);
  for (const auto name : names)
    std::ranges::copy(tensors_.bias(name, size.n / names.size(), i),
                      std::back_inserter(compiled.bias));
  compiled.packed = std::move(compiled.quantized.packed);
  std::ranges::copy(compiled.quantized.reports, std::back_inserter(reports_));
  return compiled;
}

Runnable Compiler::runnable(const CompiledLinear& compiled, std::size_t i,
                            const nn::LinearSize& size, std::span<const std::string_view> names) {
  Runnable r;
  r.linear = {size.name, compiled.packed.view, compiled.bias.data()};
  if (config_.propagate) return r;
  r.floats = nn::pack_unquantized(weights(i, size, names));
  r.linear.weights = r.floats.view;
  return r;
}

/// AWQ's scales of the attention output's input go into the rows of V that produce it: exact, since
/// a row has its own scales and attention mixes tokens, not columns.
void Compiler::fold_into_values(CompiledLayer& layer) {
  QuantizedMatrix& out = layer.attn_out.quantized.matrix;
  if (out.input_scale.empty()) return;
  nn::scale_rows(layer.qkv.quantized.matrix, layer.qkv.bias, 2 * shape_.hidden, out.input_scale);
  out.input_scale.clear();
  layer.qkv.packed = layer.qkv.quantized.pack(config_);
  layer.attn_out.packed = layer.attn_out.quantized.pack(config_);
}

void Compiler::compile_layer(std::size_t i, nn::Calibration* calibration) {
  const Architecture& a = tensors_.architecture();
  const auto sizes = nn::layer_linears(shape_);
  const std::array qkv{a.q, a.k, a.v};
  const std::array attn_out{a.attn_out}, ffn1{a.ffn1}, ffn2{a.ffn2};
  nn::EncoderLayer& norms = model_.layers.emplace_back();
  norms.attn_norm = keep(tensors_.norm(a.attn_norm, shape_.hidden, i));
  norms.ffn_norm = keep(tensors_.norm(a.ffn_norm, shape_.hidden, i));

  CompiledLayer layer;
  const auto inputs = [&](auto&& ask) {
    Inputs seen = calibration ? ask() : Inputs{};
    seen.sampled = sampled_;
    return seen;
  };
  layer.qkv = compile_linear(i, sizes[0], qkv, inputs([&] { return calibration->qkv_inputs(); }));
  layer.attn_out = compile_linear(
      i, sizes[1], attn_out, inputs([&] {
        return calibration->attn_out_inputs(runnable(layer.qkv, i, sizes[0], qkv).linear);
      }));
  layer.ffn1 =
      compile_linear(i, sizes[2], ffn1, inputs([&] {
                       return calibration->ffn1_inputs(
                           runnable(layer.attn_out, i, sizes[1], attn_out).linear, norms.attn_norm);
                     }));
  layer.ffn2 = compile_linear(
      i, sizes[3], ffn2, inputs([&] {
        return calibration->ffn2_inputs(runnable(layer.ffn1, i, sizes[2], ffn1).linear);
      }));
  if (calibration && i + 1 < shape_.layers)
    calibration->finish(runnable(layer.ffn1, i, sizes[2], ffn1).linear,
                        runnable(layer.ffn2, i, sizes[3], ffn2).linear, norms.ffn_norm);
  fold_into_values(layer);
  for (CompiledLinear* linear : {&layer.qkv, &layer.attn_out, &layer.ffn1, &layer.ffn2})
    linear->quantized = {};
  layers_.push_back(std::move(layer));
}

nn::EncoderMetadata Compiler::metadata() const {
  nn::EncoderMetadata m;
  m.shape = shape_;
  m.pooling = options_.pooling ? *options_.pooling
                               : nn::stated_pooling(checkpoint_).value_or(Pooling::mean);
  m.normalize =
      options_.normalize ? *options_.normalize : nn::stated_normalize(checkpoint_).value_or(true);
  const std::size_t all = shape_.max_positions();
  const auto asked = options_.max_tokens ? options_.max_tokens : nn::stated_max_tokens(checkpoint_);
  m.max_tokens = std::min(asked.value_or(all), all);
  m.quantization = to_json(config_);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const CompiledLayer& layer = layers_[i];
    const std::array all_linears{&layer.qkv, &layer.attn_out, &layer.ffn1, &layer.ffn2};
    for (std::size_t j = 0; j < all_linears.size(); ++j) {
      const auto& view = all_linears[j]->packed.view;
      m.linears.push_back(
          {nn::layer_entry(i, nn::layer_linears(shape_)[j].name), nn::scheme_name(view), view});
    }
  }
  return m;
}

void Compiler::add_norm(ArtifactWriter& writer, const std::string& name,
                        const nn::Norm& norm) const {
  nn::add_floats(writer, name + ".weight", norm.gamma, {shape_.hidden});
  nn::add_floats(writer, name + ".bias", norm.beta, {shape_.hidden});
}

void Compiler::add_layers(ArtifactWriter& writer) const {
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const auto add_linear = [&](const char* part, const CompiledLinear& linear) {
      nn::add_linear(writer, nn::layer_entry(i, part), linear.packed.view, linear.bias);
    };
    add_linear("qkv", layers_[i].qkv);
    add_linear("attn_out", layers_[i].attn_out);
    add_norm(writer, nn::layer_entry(i, "attn_norm"), model_.layers[i].attn_norm);
    add_linear("ffn1", layers_[i].ffn1);
    add_linear("ffn2", layers_[i].ffn2);
    add_norm(writer, nn::layer_entry(i, "ffn_norm"), model_.layers[i].ffn_norm);
  }
}

void Compiler::write(const std::string& out_path) {
  step("write");
  const auto files = nn::files_to_keep(checkpoint_, shape_.model_type);
  ArtifactWriter writer(nn::to_json(metadata()));
  for (const auto& [name, text] : files)
    writer.add("file/" + name, DType::u8, {text.size()}, std::as_bytes(std::span(text)));
  const std::vector<std::size_t> words{shape_.vocab, shape_.hidden};
  if (model_.words.values) {
    nn::add_floats(writer, "embeddings.words", model_.words.values, words);
  } else {
    writer.add("embeddings.words.codes", DType::i8, words, std::as_bytes(std::span(words_.codes)));
    nn::add_floats(writer, "embeddings.words.scales", words_.scales.data(), {shape_.vocab});
  }
  nn::add_floats(writer, "embeddings.positions", model_.positions.values,
             {shape_.positions, shape_.hidden});
  if (shape_.types)
    nn::add_floats(writer, "embeddings.types", model_.types.values, {shape_.types, shape_.hidden});
  add_norm(writer, "embeddings.norm", model_.embedding_norm);
  if (attention_bias_)
    nn::add_floats(writer, "attention_bias", attention_bias_, {shape_.attention_buckets, shape_.heads});
  add_layers(writer);
  writer.write(out_path);
}

std::vector<LayerReport> Compiler::run(const TokenBatch& tokens, const std::string& out_path) {
  if (config_.method == Method::autoround)
    throw Unsupported(
        "method \"autoround\" learns the blocks of causal language models, not of encoders: use \"gptq\"");
  (void)metadata();  // pooling and length files are read before the work, not after it
  const bool calibrated = tokens.sequences() > 0 && config_.method != Method::none;
  require(config_.target_bits == 0, "target_bits is for causal language models");
  require(calibrated || !config_.needs_calibration(), "method \"", name(config_.method),
          "\" needs calibration tokens; there are none");
  if (calibrated) validate(tokens, shape_);
  step("embeddings");
  read_embeddings();
  sampled_ = !calibrated && nn::wants_smoothing(config_);
  const TokenBatch sample = sampled_ ? nn::vocabulary_sample(shape_) : TokenBatch{};
  std::optional<nn::Calibration> calibration;
  if (calibrated || sampled_) calibration.emplace(model_, sampled_ ? sample : tokens, executor_);
  for (std::size_t i = 0; i < shape_.layers; ++i)
    compile_layer(i, calibration ? &*calibration : nullptr);
  calibration.reset();
  write(out_path);
  return std::move(reports_);
}

}  // namespace

std::vector<LayerReport> compile_encoder(const Checkpoint& checkpoint,
                                         const QuantizationConfig& config,
                                         const TokenBatch& calibration,
                                         const CompileOptions& options,
                                         const std::string& out_path) {
  validate(config);
  Compiler compiler(checkpoint, config, options);
  check_output(out_path, checkpoint.directory());
  return compiler.run(calibration, out_path);
}

}  // namespace qeff
