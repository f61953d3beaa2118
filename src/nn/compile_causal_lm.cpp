#include "qeff/nn/compile_causal_lm.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "nn/decoder_artifact.hpp"
#include "nn/decoder_calibration.hpp"
#include "nn/decoder_tensors.hpp"
#include "nn/learn_block.hpp"
#include "nn/model_files.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/artifact.hpp"
#include "qeff/io/atomic_file.hpp"

namespace qeff {
namespace {

using nn::Linear;
using nn::LinearParts;
using nn::QuantizedLinear;

/// One linear between quantization and artifact.
struct Compiled {
  QuantizedLinear quantized;
  std::vector<float> bias;
  kernels::PackedMatrix packed;

  [[nodiscard]] Linear linear(const char* name) const {
    return {name, packed.view, bias.empty() ? nullptr : bias.data()};
  }
};

struct CompiledLayer {
  Compiled qkv, attn_out, up, down;
};

/// Embedding and lm_head: int8 rows, or floats where nothing is quantized.
QuantizationConfig head_config(const QuantizationConfig& config) {
  QuantizationConfig head;
  head.method = config.method == Method::none || config.embedding_bits == 32 ? Method::none : Method::affine;
  head.smooth = 0;
  if (config.method == Method::none) head.activations = config.activations;
  return head;
}

void check_tokens(const TokenBatch& batch, const DecoderShape& shape) {
  require(!batch.offsets.empty() && batch.offsets.back() == batch.ids.size(), "calibration: offsets do not end with the ids");
  for (std::size_t s = 0; s < batch.sequences(); ++s) {
    const std::size_t begin = batch.offsets[s], end = batch.offsets[s + 1];
    require(begin < end, "calibration: sequence ", s, " is empty");
    require(end - begin <= shape.positions, "calibration: sequence ", s, " has ", end - begin, " tokens; the model has ",
            shape.positions, " positions");
    for (std::size_t i = begin; i < end; ++i)
      require(batch.ids[i] >= 0 && static_cast<std::size_t>(batch.ids[i]) < shape.vocab, "calibration: token id ",
              batch.ids[i], " at position ", i - begin, " of sequence ", s, " is outside the vocabulary of ", shape.vocab);
  }
}

class Compiler {
 public:
  Compiler(const Checkpoint& checkpoint, const QuantizationConfig& config, const CompileOptions& options)
      : checkpoint_(checkpoint),
        config_(config),
        options_(options),
        executor_(options.threads),
        shape_(decoder_shape(checkpoint.config(), checkpoint.directory() + ": config.json")),
        tensors_(checkpoint, shape_) {}

  std::vector<LayerReport> run(const TokenBatch& tokens, const std::string& out_path);

 private:
  using Inputs = nn::InputStatistics;

  void step(const std::string& what) {
    tell(what);
    ++done_;
  }
  void tell(const std::string& what) const {
    const std::size_t steps_a_layer = learner_ ? 5 : 4;
    if (options_.progress) options_.progress(done_, shape_.layers * steps_a_layer + 3, what);
  }
  const float* keep(std::vector<float> values) {
    return values.empty() ? nullptr : kept_.emplace_back(std::move(values)).data();
  }
  nn::Norm keep(nn::NormValues norm) {
    nn::Norm kept;
    kept.gamma = keep(std::move(norm.gamma));
    kept.beta = keep(std::move(norm.beta));
    return kept;
  }
  Compiled compile(LinearParts parts, const Inputs& inputs, const QuantizationConfig& recipe);
  Compiled compile(std::size_t layer, const char* name, LinearParts parts, const Inputs& inputs, bool after_norm);
  void compile_ends();
  void compile_layer(std::size_t i, nn::DecoderCalibration* calibration);
  void learn(std::size_t i, nn::DecoderCalibration& calibration, const nn::BlockOf<LinearParts>& parts,
             const nn::BlockOf<Inputs>& inputs, CompiledLayer& layer);
  void fold(Compiled& linear, nn::Norm& norm);
  void fold_into_up(CompiledLayer& layer);
  void write(const std::string& out_path);

  const Checkpoint& checkpoint_;
  const QuantizationConfig& config_;
  const CompileOptions& options_;
  Executor executor_;
  DecoderShape shape_;
  nn::DecoderTensors tensors_;
  nn::DecoderModel model_;  // embeddings and norms
  std::deque<std::vector<float>> kept_;
  Compiled words_, lm_head_;
  std::vector<CompiledLayer> layers_;
  std::vector<LayerReport> reports_;
  std::optional<nn::BlockLearner> learner_;  // method autoround
  std::size_t done_ = 0;
};

Compiled Compiler::compile(LinearParts parts, const Inputs& inputs, const QuantizationConfig& recipe) {
  Compiled compiled;
  compiled.quantized = nn::quantize_linear(parts.weights, inputs, recipe, executor_);
  compiled.bias = std::move(parts.bias);
  compiled.packed = compiled.quantized.pack(recipe);
  std::ranges::copy(compiled.quantized.reports, std::back_inserter(reports_));
  return compiled;
}

Compiled Compiler::compile(std::size_t layer, const char* name, LinearParts parts, const Inputs& inputs, bool after_norm) {
  step(nn::layer_entry(layer, name));
  QuantizationConfig recipe = config_;
  if (!after_norm) recipe.smooth = 0;
  return compile(std::move(parts), inputs, recipe);
}

void Compiler::compile_ends() {
  step("embeddings");
  const QuantizationConfig head = head_config(config_);
  LinearParts words{{tensors_.words()}, {}};
  lm_head_ = compile(shape_.tied ? std::move(words) : tensors_.lm_head(), {}, head);
  if (!shape_.tied) words_ = compile(std::move(words), {}, head);
  model_.shape = shape_;
  model_.words = shape_.tied ? lm_head_.packed.view : words_.packed.view;
  model_.positions = keep(tensors_.positions());
  model_.final_norm = keep(tensors_.norm(shape_.architecture().final_norm, shape_.hidden));
}

/// The scales of a linear's input go into the norm before it.
void Compiler::fold(Compiled& linear, nn::Norm& norm) {
  const auto& scale = linear.quantized.matrix.input_scale;
  if (scale.empty()) return;
  for (const float** values : {&norm.gamma, &norm.beta}) {
    if (!*values) continue;
    std::vector<float> scaled(*values, *values + scale.size());
    for (std::size_t j = 0; j < scale.size(); ++j) scaled[j] *= scale[j];
    *values = keep(std::move(scaled));
  }
  linear.quantized.matrix.input_scale.clear();
  linear.packed = linear.quantized.pack(config_);
}

/// The scales of down's input go into the rows of up, each of which makes one of its inputs.
void Compiler::fold_into_up(CompiledLayer& layer) {
  auto& scale = layer.down.quantized.matrix.input_scale;
  if (scale.empty() || !shape_.gated()) return;
  QuantizedMatrix& up = layer.up.quantized.matrix;
  for (std::size_t j = 0; j < shape_.intermediate; ++j) {
    const std::size_t row = shape_.intermediate + j;
    for (std::size_t g = 0; g < up.groups(); ++g) up.scales[row * up.groups() + g] *= scale[j];
    if (!layer.up.bias.empty()) layer.up.bias[row] *= scale[j];
  }
  scale.clear();
  layer.up.packed = layer.up.quantized.pack(config_);
  layer.down.packed = layer.down.quantized.pack(config_);
}

/// Trades what GPTQ found for what the block learns, and takes the calibration states through the result.
void Compiler::learn(std::size_t i, nn::DecoderCalibration& calibration, const nn::BlockOf<LinearParts>& parts,
                     const nn::BlockOf<Inputs>& inputs, CompiledLayer& layer) {
  const std::string name = nn::layer_entry(i, "learning");
  step(name);
  const auto matrix = [](const Compiled& linear) { return &linear.quantized.matrix; };
  nn::LearnedBlock learned =
      learner_->learn(parts, inputs, {matrix(layer.qkv), matrix(layer.attn_out), matrix(layer.up), matrix(layer.down)},
                      [&](int at, int steps) { tell(fmt::format("{} {}/{}", name, at, steps)); });
  const std::string note =
      fmt::format("block error {:.4g} after {} steps, {:.4g} before them", learned.loss, learned.best_step,
                  learned.loss_before);
  tell(fmt::format("{}: {}", name, note));
  reports_.resize(reports_.size() - parts.qkv.weights.size() - parts.attn_out.weights.size() - parts.up.weights.size() -
                  parts.down.weights.size());
  const auto adopt = [&](Compiled& linear, QuantizedMatrix better, const LinearParts& weights, const Inputs& seen) {
    linear.quantized.matrix = std::move(better);
    nn::report_again(weights.weights, seen, config_, 0, linear.quantized, executor_);
    for (LayerReport& row : linear.quantized.reports) {
      row.note += (row.note.empty() ? "" : "; ") + note;
      reports_.push_back(row);
    }
    linear.packed = linear.quantized.pack(config_);
  };
  adopt(layer.qkv, std::move(learned.matrices.qkv), parts.qkv, inputs.qkv);
  adopt(layer.attn_out, std::move(learned.matrices.attn_out), parts.attn_out, inputs.attn_out);
  adopt(layer.up, std::move(learned.matrices.up), parts.up, inputs.up);
  adopt(layer.down, std::move(learned.matrices.down), parts.down, inputs.down);
  if (i + 1 == shape_.layers) return;
  std::ranges::copy(learner_->inputs(), calibration.states().begin());
  calibration.run(layer.qkv.linear(""), layer.attn_out.linear(""), layer.up.linear(""), layer.down.linear(""));
}

void Compiler::compile_layer(std::size_t i, nn::DecoderCalibration* calibration) {
  nn::DecoderLayer& norms = model_.layers.emplace_back();
  for (const auto& [name, tensor, n, member] : nn::layer_norms(shape_)) norms.*member = keep(tensors_.norm(tensor, n, i));
  // What runs next during calibration: the quantized linear, or the one of the checkpoint.
  std::deque<kernels::PackedMatrix> floats;
  const auto runnable = [&](const Compiled& compiled, const LinearParts& linear_parts) {
    Linear linear = compiled.linear("");
    if (calibration && !config_.propagate) {
      QuantizationConfig as_float;
      as_float.method = Method::none;
      const QuantizedLinear unchanged = nn::quantize_linear(linear_parts.weights, {}, as_float, executor_);
      linear.weights = floats.emplace_back(unchanged.pack(as_float)).view;
    }
    return linear;
  };
  const auto inputs = [&](auto&& ask) { return calibration ? ask() : Inputs{}; };

  const nn::BlockOf<LinearParts> parts{tensors_.qkv(i), tensors_.attn_out(i), tensors_.up(i), tensors_.down(i)};
  if (learner_) learner_->begin(parts, calibration->states());
  nn::BlockOf<Inputs> in;
  CompiledLayer layer;
  in.qkv = inputs([&] { return calibration->qkv_inputs(); });
  layer.qkv = compile(i, "qkv", parts.qkv, in.qkv, true);
  const Linear qkv = runnable(layer.qkv, parts.qkv);
  in.attn_out = inputs([&] { return calibration->attn_out_inputs(qkv); });
  layer.attn_out = compile(i, "attn_out", parts.attn_out, in.attn_out, false);
  const Linear attn_out = runnable(layer.attn_out, parts.attn_out);
  in.up = inputs([&] { return calibration->up_inputs(attn_out); });
  layer.up = compile(i, "up", parts.up, in.up, true);
  const Linear up = runnable(layer.up, parts.up);
  in.down = inputs([&] { return calibration->down_inputs(up); });
  layer.down = compile(i, "down", parts.down, in.down, false);
  if (learner_)
    learn(i, *calibration, parts, in, layer);
  else if (calibration && i + 1 < shape_.layers)
    calibration->finish(attn_out, up, runnable(layer.down, parts.down));
  fold(layer.qkv, norms.attn_norm);
  fold(layer.up, norms.ffn_norm);
  fold_into_up(layer);
  for (Compiled* linear : {&layer.qkv, &layer.attn_out, &layer.up, &layer.down}) linear->quantized = {};
  layers_.push_back(std::move(layer));
}

void Compiler::write(const std::string& out_path) {
  step("write");
  nn::DecoderMetadata metadata{to_json(config_), {}};
  std::vector<std::pair<std::string, const Compiled*>> linears{{"lm_head", &lm_head_}};
  if (!shape_.tied) linears.emplace_back("words", &words_);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const CompiledLayer& l = layers_[i];
    for (const auto& [name, linear] : {std::pair{"qkv", &l.qkv}, {"attn_out", &l.attn_out}, {"up", &l.up}, {"down", &l.down}})
      linears.emplace_back(nn::layer_entry(i, name), linear);
  }
  for (const auto& [name, linear] : linears)
    metadata.linears.push_back({name, nn::scheme_name(linear->packed.view), linear->packed.view});

  ArtifactWriter writer(nn::to_json(metadata, shape_));
  const auto files = nn::files_to_keep(checkpoint_, shape_.model_type);
  for (const auto& [name, text] : files)
    writer.add("file/" + name, DType::u8, {text.size()}, std::as_bytes(std::span(text)));
  for (const auto& [name, linear] : linears) nn::add_linear(writer, name, linear->packed.view, linear->bias);
  const auto add_norm = [&](const std::string& name, const nn::Norm& norm, std::size_t n) {
    if (norm.gamma) nn::add_floats(writer, name + ".weight", norm.gamma, {n});
    if (norm.beta) nn::add_floats(writer, name + ".bias", norm.beta, {n});
  };
  if (model_.positions)
    nn::add_floats(writer, "positions", model_.positions,
                   {shape_.positions + shape_.architecture().position_offset, shape_.hidden});
  add_norm("final_norm", model_.final_norm, shape_.hidden);
  for (std::size_t i = 0; i < layers_.size(); ++i)
    for (const auto& [name, tensor, n, member] : nn::layer_norms(shape_))
      add_norm(nn::layer_entry(i, name), model_.layers[i].*member, n);
  writer.write(out_path);
}

std::vector<LayerReport> Compiler::run(const TokenBatch& tokens, const std::string& out_path) {
  const bool calibrated = tokens.sequences() > 0 && config_.method != Method::none;
  require(calibrated || !config_.needs_calibration(), "method \"", name(config_.method),
          "\" needs calibration tokens; there are none");
  if (calibrated) check_tokens(tokens, shape_);
  compile_ends();
  std::optional<nn::DecoderCalibration> calibration;
  if (calibrated) calibration.emplace(model_, tokens, executor_);
  if (config_.method == Method::autoround) learner_.emplace(model_, tokens, config_.autoround, executor_);
  for (std::size_t i = 0; i < shape_.layers; ++i) compile_layer(i, calibration ? &*calibration : nullptr);
  calibration.reset();
  learner_.reset();
  write(out_path);
  return std::move(reports_);
}

}  // namespace

std::vector<LayerReport> compile_causal_lm(const Checkpoint& checkpoint, const QuantizationConfig& config,
                                           const TokenBatch& calibration, const CompileOptions& options,
                                           const std::string& out_path) {
  validate(config);
  (void)AtomicFile(out_path, checkpoint.files());  // fails now rather than after the work
  return Compiler(checkpoint, config, options).run(calibration, out_path);
}

}  // namespace qeff
