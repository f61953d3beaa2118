#include "nn/sensitivity.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <optional>

#include "nn/decoder_artifact.hpp"
#include "nn/decoder_calibration.hpp"
#include "nn/decoder_forward.hpp"

namespace qeff::nn {
namespace {

constexpr std::size_t kSequences = 4, kTokens = 64;  // that are looked at, of each
constexpr std::size_t kTogether = 8;                 // streams in one step
constexpr std::size_t kCalibrationTokens = 8192;     // that choices with calibration are made from

using Stream = std::vector<float>;  // (rows, hidden): what all sequences make of the layers so far

/// Mean over rows of |x - y|^2 / |y|^2.
double relative_change(const Stream& x, const Stream& y, std::size_t hidden) {
  double sum = 0;
  for (std::size_t row = 0; row < x.size(); row += hidden) {
    double change = 0, size = 0;
    for (std::size_t i = row; i < row + hidden; ++i) {
      const double d = static_cast<double>(x[i]) - static_cast<double>(y[i]);
      change += d * d;
      size += static_cast<double>(y[i]) * static_cast<double>(y[i]);
    }
    if (size > 0) sum += change / size;
  }
  return sum * static_cast<double>(hidden) / static_cast<double>(x.size());
}

double log_sum(const float* logits, std::size_t n) {
  const float most = *std::max_element(logits, logits + n);
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(logits[i] - most));
  return static_cast<double>(most) + std::log(sum);
}

/// KL(p || q) of softmaxed rows.
double divergence(const float* p, const float* q, std::size_t n) {
  const double p_sum = log_sum(p, n), q_sum = log_sum(q, n);
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double log_p = static_cast<double>(p[i]) - p_sum;
    sum += std::exp(log_p) * (log_p - (static_cast<double>(q[i]) - q_sum));
  }
  return std::max(sum, 0.0);
}

/// Streams of the same tokens on their way through the layers.
class Probe {
 public:
  Probe(const DecoderModel& ends, const TokenBatch& tokens, Executor& executor);

  std::vector<Stream> streams;  ///< The first one is that of the float model.

  void begin_layer(std::size_t i) { one_.shape.layer = {ends_.shape.layer[i]}; }
  /// Streams [first, last) through one layer.
  void run(const DecoderLayer& layer, Stream* first, Stream* last);
  /// Of all but the first stream, from the first one.
  [[nodiscard]] std::vector<double> divergences();

 private:
  [[nodiscard]] std::vector<float> logits(const Stream& stream);
  [[nodiscard]] std::size_t rows() const { return runs_.back().row + runs_.back().count; }

  const DecoderModel& ends_;
  Team team_;
  DecoderModel one_;             // of the layer at work
  std::vector<TokenRun> runs_;  // of one stream
  RopeTables ropes_;
  DecoderWorkspace work_;
  std::vector<KvCache> cache_;  // one, of one layer
};

Probe::Probe(const DecoderModel& ends, const TokenBatch& tokens, Executor& executor)
    : ends_(ends), team_{&executor, executor.threads()} {
  const DecoderShape& s = ends.shape;
  one_.shape = s;
  one_.layers.resize(1);
  const std::size_t sequences = std::min(kSequences, tokens.sequences());
  Stream& stream = streams.emplace_back();
  for (std::size_t i = 0; i < sequences; ++i) {
    const std::size_t which = i * tokens.sequences() / sequences, begin = tokens.offsets[which];
    const std::size_t count = std::min(kTokens, tokens.offsets[which + 1] - begin);
    const std::size_t row = stream.size() / s.hidden;
    runs_.push_back({i, 0, row, count});
    stream.resize((row + count) * s.hidden);
    embed_run(ends, std::span(tokens.ids).subspan(begin, count), 0, stream.data() + row * s.hidden);
  }
  ropes_ = RopeTables(s, kTokens);
  cache_.emplace_back(1, kTogether * sequences, s.kv_heads, s.head_dim, kTokens, kernels::CachedAs::f32);
  work_.reserve(s, kTogether * rows(), team_.threads);
}

void Probe::run(const DecoderLayer& layer, Stream* first, Stream* last) {
  one_.layers.front() = layer;
  for (; first != last;) {
    std::vector<TokenRun> runs;
    std::size_t row = 0;
    Stream* const begin = first;
    for (; first != last && first < begin + kTogether; ++first, row += rows()) {
      for (TokenRun run : runs_) {
        run.sequence = runs.size();
        run.row += row;
        runs.push_back(run);
      }
      std::ranges::copy(*first, work_.x.as<float>() + row * one_.shape.hidden);
    }
    run_layers(one_, ropes_, runs, row, cache_.front(), work_, team_);
    const float* from = work_.x.as<float>();
    for (Stream* stream = begin; stream != first; ++stream, from += stream[-1].size())
      std::copy_n(from, stream->size(), stream->data());
  }
}

std::vector<float> Probe::logits(const Stream& stream) {
  std::vector<float> all(rows() * ends_.shape.vocab);
  Stream copy = stream;
  run_head(ends_, copy.data(), rows(), all.data(), team_);
  return all;
}

std::vector<double> Probe::divergences() {
  const std::size_t vocab = ends_.shape.vocab;
  const std::vector<float> wanted = logits(streams.front());
  std::vector<double> result, of_row(rows());
  for (std::size_t i = 1; i < streams.size(); ++i) {
    const std::vector<float> seen = logits(streams[i]);
    team_.executor->run(rows(), [&](std::size_t r) {
      of_row[r] = divergence(wanted.data() + r * vocab, seen.data() + r * vocab, vocab);
    });
    double sum = 0;
    for (const double d : of_row) sum += d;
    result.push_back(sum / static_cast<double>(rows()));
  }
  return result;
}

/// A layer as the checkpoint has it, and each of its linears by each recipe.
struct Layer {
  std::deque<std::vector<float>> values;  // norms, biases
  std::vector<LinearParts> parts;
  std::vector<kernels::PackedMatrix> floats;
  std::vector<std::vector<kernels::PackedMatrix>> rounded;  // [linear][recipe]
  DecoderLayer layer;

  Layer(const DecoderTensors& tensors, const DecoderShape& shape, std::size_t i);
  /// @param inputs  What each linear reads, or none.
  void quantize(std::span<const QuantizationConfig> recipes, const std::vector<InputStatistics>& inputs,
                Executor& executor);

 private:
  const float* keep(std::vector<float> from) {
    return from.empty() ? nullptr : values.emplace_back(std::move(from)).data();
  }
};

Layer::Layer(const DecoderTensors& tensors, const DecoderShape& shape, std::size_t i) {
  for (const auto& [name, tensor, n, member] : layer_norms(shape)) {
    NormValues norm = tensors.norm(tensor, n, i);
    layer.*member = {keep(std::move(norm.gamma)), keep(std::move(norm.beta))};
  }
  parts.push_back(tensors.qkv(i));
  parts.push_back(tensors.attn_out(i));
  parts.push_back(tensors.up(i));
  parts.push_back(tensors.down(i));
  for (std::size_t l = 0; const auto& [name, n, k, member] : layer_linears(shape)) {
    floats.push_back(pack_unquantized(parts[l].weights));
    layer.*member = {name, floats[l].view, keep(std::move(parts[l].bias))};
    ++l;
  }
}

void Layer::quantize(std::span<const QuantizationConfig> recipes, const std::vector<InputStatistics>& inputs,
                     Executor& executor) {
  rounded.resize(parts.size());
  for (auto& matrices : rounded) matrices.resize(recipes.size());
  executor.run(parts.size() * recipes.size(), [&](std::size_t task) {
    const std::size_t linear = task / recipes.size();
    const QuantizationConfig& recipe = recipes[task % recipes.size()];
    rounded[linear][task % recipes.size()] =
        quantize_linear(parts[linear].weights, inputs[linear], recipe, executor).packed;
  });
}

/// What the linears of the float model read, layer by layer.
class FloatInputs {
 public:
  FloatInputs(const DecoderModel& ends, const TokenBatch& tokens, Executor& executor)
      : model_(ends), calibration_(model_, tokens, executor, kCalibrationTokens) {}

  /// Of the next layer, in the order of layer_linears(). `layer` must live until the call after this.
  std::vector<InputStatistics> of(const DecoderLayer& layer) {
    model_.layers.push_back(layer);
    std::vector<InputStatistics> inputs;
    inputs.push_back(calibration_.qkv_inputs());
    inputs.push_back(calibration_.attn_out_inputs(layer.qkv));
    inputs.push_back(calibration_.up_inputs(layer.attn_out));
    inputs.push_back(calibration_.down_inputs(layer.up));
    calibration_.finish(layer.attn_out, layer.up, layer.down);
    return inputs;
  }

 private:
  DecoderModel model_;
  DecoderCalibration calibration_;
};

}  // namespace

std::vector<Sensitivity> measure_sensitivity(const DecoderModel& ends, const DecoderTensors& tensors,
                                             std::span<const QuantizationConfig> recipes, std::size_t reference,
                                             const TokenBatch& tokens, Executor& executor,
                                             const std::function<void(std::size_t)>& layer_begins) {
  const DecoderShape& shape = ends.shape;
  Probe probe(ends, tokens, executor);
  std::optional<FloatInputs> inputs;
  if (std::ranges::any_of(recipes, &QuantizationConfig::needs_calibration)) inputs.emplace(ends, tokens, executor);
  std::vector<Sensitivity> found;
  for (std::size_t i = 0; i < shape.layers; ++i) {
    layer_begins(i);
    probe.begin_layer(i);
    Layer layer(tensors, shape, i);
    layer.quantize(recipes, inputs ? inputs->of(layer.layer) : std::vector<InputStatistics>(layer.parts.size()), executor);
    const Stream before = probe.streams.front();
    probe.run(layer.layer, probe.streams.data(), probe.streams.data() + probe.streams.size());
    const auto linears = layer_linears(shape);
    for (std::size_t l = 0; l < linears.size(); ++l) {
      Sensitivity& of_linear = found.emplace_back();
      for (std::size_t c = 0; c < recipes.size(); ++c) {
        DecoderLayer changed = layer.layer;
        (changed.*linears[l].member).weights = layer.rounded[l][c].view;
        Stream stream = before;
        probe.run(changed, &stream, &stream + 1);
        of_linear.loss.push_back(relative_change(stream, probe.streams.front(), shape.hidden));
        if (c == reference) probe.streams.push_back(std::move(stream));
      }
    }
  }
  const std::vector<double> divergences = probe.divergences();
  for (std::size_t l = 0; l < found.size(); ++l) {
    found[l].divergence = divergences[l];
    const double change = found[l].loss[reference];
    for (double& loss : found[l].loss) loss = change > 0 ? loss * divergences[l] / change : 0;
  }
  return found;
}

}  // namespace qeff::nn
