#include "qeff/nn/compile_causal_lm.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>
#include <utility>

#include "nn/bit_plan.hpp"
#include "nn/compile_state.hpp"
#include "nn/decoder_artifact.hpp"
#include "nn/decoder_calibration.hpp"
#include "nn/decoder_tensors.hpp"
#include "nn/learn_block.hpp"
#include "nn/model_files.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/atomic_file.hpp"
#include "qeff/quant/round_scales.hpp"

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
  std::size_t first_report = 0, reports = 0;

  [[nodiscard]] Linear linear(const char* name) const {
    return {name, packed.view, bias.empty() ? nullptr : bias.data()};
  }
};

struct CompiledLayer {
  Compiled qkv, attn_out, up, down;
};

/// Scales of int8 rows of the embedding and of lm_head, and of lm_head's inputs: those of a final norm have outliers
/// that would cost a whole row its bits.
constexpr std::size_t kHeadGroup = 64;

/// Embedding and lm_head: int8 rows in groups, or floats where nothing is quantized.
QuantizationConfig head_config(const QuantizationConfig& config, std::size_t hidden) {
  QuantizationConfig head;
  head.method = config.method == Method::none || config.embedding_bits == 32 ? Method::none : Method::affine;
  head.smooth = 0;
  head.group_size = hidden > kHeadGroup ? kHeadGroup : 0;
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
  using Clock = std::chrono::steady_clock;
  static constexpr Clock::duration kCheapStream = std::chrono::milliseconds(50);
  static constexpr int kStreamShare = 40;  // of the time, at most one part goes into writing the stream

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
    const std::size_t planning = config_.target_bits > 0 ? shape_.layers : 0;
    if (options_.progress) options_.progress(done_, planning + shape_.layers * steps_a_layer() + 3, what);
  }
  [[nodiscard]] std::size_t steps_a_layer() const { return learner_ ? 5 : 4; }
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
  void plan(const TokenBatch& tokens);
  [[nodiscard]] std::vector<std::span<float>> carried(nn::DecoderCalibration& calibration);
  std::size_t take_up(std::size_t done, nn::DecoderCalibration* calibration);
  void compile_layer(std::size_t i, nn::DecoderCalibration* calibration);
  void keep(std::size_t i, nn::DecoderCalibration* calibration, std::size_t first_report);
  void learn(std::size_t i, nn::DecoderCalibration& calibration, const nn::BlockOf<LinearParts>& parts,
             const nn::BlockOf<Inputs>& inputs, CompiledLayer& layer);
  nn::Linear as_float(const LinearParts& parts, std::deque<kernels::PackedMatrix>& into);
  void fold(Compiled& linear, nn::Norm& norm);
  void fold_into_up(CompiledLayer& layer);
  void write(const std::string& out_path);

  const Checkpoint& checkpoint_;
  const QuantizationConfig& config_;
  const CompileOptions& options_;
  Executor executor_;
  DecoderShape shape_;
  nn::DecoderTensors tensors_;
  nn::DecoderModel model_;
  std::deque<std::vector<float>> kept_;
  Compiled words_, lm_head_;
  std::deque<CompiledLayer> layers_;  // those of model_ that are in no mapped file
  std::vector<LayerReport> reports_;
  std::optional<nn::CompileState> state_;
  Clock::time_point stream_kept_{};  // when state_ got the stream last
  Clock::duration stream_cost_{};    // and how long that took
  nn::BitPlan plan_;  // empty: config_ for all linears
  std::optional<nn::DecoderCalibration> floats_;  // of the float model, for error_feedback
  std::optional<nn::BlockLearner> learner_;  // method autoround
  std::size_t done_ = 0;
};

Compiled Compiler::compile(LinearParts parts, const Inputs& inputs, const QuantizationConfig& recipe) {
  Compiled compiled;
  compiled.quantized = nn::quantize_linear(parts.weights, inputs, recipe, executor_);
  compiled.bias = std::move(parts.bias);
  compiled.packed = std::move(compiled.quantized.packed);
  compiled.first_report = reports_.size();
  compiled.reports = compiled.quantized.reports.size();
  std::ranges::copy(compiled.quantized.reports, std::back_inserter(reports_));
  return compiled;
}

Compiled Compiler::compile(std::size_t layer, const char* name, LinearParts parts, const Inputs& inputs, bool after_norm) {
  const std::string entry = nn::layer_entry(layer, name);
  step(entry);
  QuantizationConfig recipe = nn::planned(plan_, config_, entry);
  if (!after_norm) recipe.smooth = 0;
  Compiled compiled = compile(std::move(parts), inputs, recipe);
  if (!plan_.empty())
    for (LayerReport& row : std::span(reports_).subspan(compiled.first_report)) row.sensitivity = plan_.at(entry).divergence;
  return compiled;
}

void Compiler::compile_ends() {
  step("embeddings");
  const QuantizationConfig head = head_config(config_, shape_.hidden);
  LinearParts words{{tensors_.words()}, {}};
  lm_head_ = compile(shape_.tied ? std::move(words) : tensors_.lm_head(), {}, head);
  if (!shape_.tied) words_ = compile(std::move(words), {}, head);
  model_.shape = shape_;
  model_.lm_head = lm_head_.linear("lm_head");
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
  nn::scale_rows(layer.up.quantized.matrix, layer.up.bias, shape_.intermediate, scale);
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
  const auto adopt = [&](Compiled& linear, QuantizedMatrix better, const LinearParts& weights, const Inputs& seen) {
    linear.quantized.matrix = std::move(better);
    round_scales(linear.quantized.matrix);
    nn::report_again(weights.weights, seen, config_, 0, linear.quantized, executor_);
    for (LayerReport& row : linear.quantized.reports) row.note += (row.note.empty() ? "" : "; ") + note;
    std::ranges::copy(linear.quantized.reports, reports_.begin() + static_cast<std::ptrdiff_t>(linear.first_report));
    linear.packed = std::move(linear.quantized.packed);
  };
  adopt(layer.qkv, std::move(learned.matrices.qkv), parts.qkv, inputs.qkv);
  adopt(layer.attn_out, std::move(learned.matrices.attn_out), parts.attn_out, inputs.attn_out);
  adopt(layer.up, std::move(learned.matrices.up), parts.up, inputs.up);
  adopt(layer.down, std::move(learned.matrices.down), parts.down, inputs.down);
  if (i + 1 == shape_.layers) return;
  std::ranges::copy(learner_->inputs(), calibration.states().begin());
  calibration.run(layer.qkv.linear(""), layer.attn_out.linear(""), layer.up.linear(""), layer.down.linear(""));
}

/// The linear of the checkpoint.
Linear Compiler::as_float(const LinearParts& parts, std::deque<kernels::PackedMatrix>& into) {
  into.push_back(nn::pack_unquantized(parts.weights));
  return {"", into.back().view, parts.bias.empty() ? nullptr : parts.bias.data()};
}

void Compiler::compile_layer(std::size_t i, nn::DecoderCalibration* calibration) {
  nn::DecoderLayer& norms = model_.layers.emplace_back();
  for (const auto& [name, tensor, n, member] : nn::layer_norms(shape_)) norms.*member = keep(tensors_.norm(tensor, n, i));
  // What runs next during calibration: the quantized linear, or the one of the checkpoint.
  std::deque<kernels::PackedMatrix> floats;
  const auto runnable = [&](const Compiled& compiled, const LinearParts& linear_parts) {
    return calibration && !config_.propagate ? as_float(linear_parts, floats) : compiled.linear("");
  };
  const auto inputs = [&](auto&& ask) { return calibration ? ask() : Inputs{}; };

  const nn::BlockOf<LinearParts> parts{tensors_.qkv(i), tensors_.attn_out(i), tensors_.up(i), tensors_.down(i)};
  if (learner_) learner_->begin(calibration->states());
  nn::FloatStream beside;
  if (floats_) beside = {&*floats_, {as_float(parts.qkv, floats), as_float(parts.attn_out, floats), as_float(parts.up, floats),
                                     as_float(parts.down, floats)}};
  nn::BlockOf<Inputs> in;
  const auto seen = [&](Inputs& statistics) {  // megabytes, or hundreds of them
    if (!learner_) statistics = {};
  };
  CompiledLayer layer;
  in.qkv = inputs([&] { return calibration->qkv_inputs(beside); });
  layer.qkv = compile(i, "qkv", parts.qkv, in.qkv, true);
  seen(in.qkv);
  const Linear qkv = runnable(layer.qkv, parts.qkv);
  in.attn_out = inputs([&] { return calibration->attn_out_inputs(qkv, beside); });
  layer.attn_out = compile(i, "attn_out", parts.attn_out, in.attn_out, false);
  seen(in.attn_out);
  const Linear attn_out = runnable(layer.attn_out, parts.attn_out);
  in.up = inputs([&] { return calibration->up_inputs(attn_out, beside); });
  layer.up = compile(i, "up", parts.up, in.up, true);
  seen(in.up);
  const Linear up = runnable(layer.up, parts.up);
  in.down = inputs([&] { return calibration->down_inputs(up, beside); });
  layer.down = compile(i, "down", parts.down, in.down, false);
  seen(in.down);
  if (floats_ && (learner_ || i + 1 < shape_.layers))
    floats_->finish(beside.linears.attn_out, beside.linears.up, beside.linears.down);
  if (learner_)
    learn(i, *calibration, parts, in, layer);
  else if (calibration && i + 1 < shape_.layers)
    calibration->finish(attn_out, up, runnable(layer.down, parts.down));
  fold(layer.qkv, norms.attn_norm);
  fold(layer.up, norms.ffn_norm);
  fold_into_up(layer);
  for (Compiled* linear : {&layer.qkv, &layer.attn_out, &layer.up, &layer.down}) {
    linear->quantized = {};
    const kernels::PackedView& view = linear->packed.view;
    for (LayerReport& row : std::span(reports_).subspan(linear->first_report, linear->reports)) {
      row.bytes = nn::stored_bytes(view) * row.rows / view.n;
      row.bits = nn::stored_bits(view);
    }
  }
  const CompiledLayer& kept = layers_.emplace_back(std::move(layer));
  norms.qkv = kept.qkv.linear("qkv");
  norms.attn_out = kept.attn_out.linear("attn_out");
  norms.up = kept.up.linear("up");
  norms.down = kept.down.linear("down");
}

/// Bits and groups of each linear, where target_bits asks for a choice.
void Compiler::plan(const TokenBatch& tokens) {
  if (config_.target_bits == 0) return;
  if (state_) plan_ = nn::bit_plan_of(state_->plan(), shape_);
  if (!plan_.empty()) {
    done_ += shape_.layers;
    return;
  }
  const auto recipes = nn::choices_of(config_);
  const auto measured = nn::measure_sensitivity(model_, tensors_, recipes, nn::kReferenceChoice, tokens, executor_,
                                                [&](std::size_t i) { step(fmt::format("sensitivity of layer {}", i)); });
  plan_ = nn::plan_bits(shape_, config_, measured);
  if (state_) state_->keep_plan(nn::to_json(plan_));
}

/// What one layer leaves for the next: the states of the quantized model, and of the float model beside it.
std::vector<std::span<float>> Compiler::carried(nn::DecoderCalibration& calibration) {
  auto streams = calibration.carried();
  if (floats_) std::ranges::copy(floats_->carried(), std::back_inserter(streams));
  return streams;
}

/// The `done` layers that an earlier compile of the same finished. @return how many of them can be used
std::size_t Compiler::take_up(std::size_t done, nn::DecoderCalibration* calibration) {
  if (done == 0) return 0;
  if (calibration && done < shape_.layers && !state_->restore(carried(*calibration))) {
    state_->clear();
    return 0;
  }
  for (std::size_t i = 0; i < done; ++i) {
    model_.layers.push_back(state_->layer(i).weights);
    std::ranges::copy(state_->layer(i).reports, std::back_inserter(reports_));
  }
  done_ += done * steps_a_layer();
  const std::string message = fmt::format("layer {} of {}, resumed", done, shape_.layers);
  tell(message);
  if (options_.note) options_.note(message);
  return done;
}

/// Puts the layer just compiled into a file, and the file in its place.
void Compiler::keep(std::size_t i, nn::DecoderCalibration* calibration, std::size_t first_report) {
  if (!state_ || !state_->keep(model_.layers[i], std::span(reports_).subspan(first_report))) return;
  model_.layers[i] = state_->layer(i).weights;
  layers_.pop_back();
  if (!calibration || i + 1 == shape_.layers) return;
  // The stream is large: rather some layers once more after a crash than much of the time spent on writing it.
  const auto now = Clock::now();
  if (stream_cost_ > kCheapStream && now - stream_kept_ < kStreamShare * stream_cost_) return;
  state_->keep_stream(carried(*calibration));
  stream_kept_ = Clock::now();
  stream_cost_ = stream_kept_ - now;
}

void Compiler::write(const std::string& out_path) {
  step("write");
  nn::write_decoder(model_, to_json(config_), nn::files_to_keep(checkpoint_, shape_.model_type), out_path);
  if (state_) state_->remove();
}

std::vector<LayerReport> Compiler::run(const TokenBatch& tokens, const std::string& out_path) {
  const bool calibrated = tokens.sequences() > 0 && config_.method != Method::none;
  require(calibrated || !config_.needs_calibration(),
          config_.target_bits > 0 ? "target_bits" : fmt::format("method \"{}\"", name(config_.method)),
          " needs calibration tokens; there are none");
  if (calibrated) check_tokens(tokens, shape_);
  if (config_.target_bits > 0) nn::check_target_bits(shape_, config_);
  compile_ends();
  std::optional<nn::DecoderCalibration> calibration;
  if (calibrated) calibration.emplace(model_, tokens, executor_);
  nn::DecoderCalibration* const stream = calibration ? &*calibration : nullptr;
  if (options_.resume) {
    const auto note = [&](const std::string& what) {
      if (options_.note) options_.note(what);
    };
    state_.emplace(out_path, nn::compile_fingerprint(checkpoint_, config_, calibrated ? tokens : TokenBatch{}), shape_, note);
  }
  const bool corrects = config_.method == Method::gptq || config_.method == Method::awq;
  const bool learns = config_.method == Method::autoround;
  if (learns || (calibrated && corrects && config_.propagate && config_.error_feedback > 0))
    floats_.emplace(model_, tokens, executor_, learns ? 0 : static_cast<std::size_t>(config_.feedback_tokens));
  if (learns) learner_.emplace(model_, *floats_, tokens, config_, executor_);
  const std::size_t done = state_ ? state_->open(stream != nullptr) : 0;
  plan(tokens);
  for (std::size_t i = take_up(done, stream); i < shape_.layers; ++i) {
    const std::size_t first_report = reports_.size();
    compile_layer(i, stream);
    keep(i, stream, first_report);
  }
  calibration.reset();
  learner_.reset();
  floats_.reset();
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
