#include "nn/quantize_linear.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "calib/error_feedback.hpp"
#include "nn/encoder_artifact.hpp"
#include "nn/smoothing.hpp"
#include "qeff/calib/awq.hpp"
#include "qeff/calib/gptq.hpp"
#include "qeff/core/error.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/matmul.hpp"
#include "qeff/kernels/pack.hpp"
#include "qeff/kernels/table.hpp"
#include "qeff/quant/affine.hpp"
#include "qeff/quant/codebook.hpp"
#include "qeff/quant/dequantize.hpp"
#include "qeff/quant/double_quant.hpp"
#include "qeff/quant/error.hpp"
#include "qeff/quant/fp8.hpp"
#include "qeff/quant/round_scales.hpp"

namespace qeff::nn {
namespace {

/// One part, quantized; `fallback` says why not as asked.
struct Part {
  QuantizedMatrix matrix;
  std::string fallback, remark;
};

Granularity granularity(const QuantizationConfig& c, Granularity grouped) {
  if (c.per_tensor) return Granularity::per_tensor;
  return c.group_size ? grouped : Granularity::per_channel;
}

RangeMethod range_method(const std::string& range) {
  if (range == "percentile") return RangeMethod::percentile;
  return range == "mse" ? RangeMethod::mse : RangeMethod::minmax;
}

QuantizedMatrix affine(MatrixView<const float> w, const QuantizationConfig& c) {
  AffineConfig config;
  config.bits = c.bits;
  config.symmetric = config.is_signed = c.symmetric;
  config.granularity = granularity(c, Granularity::per_group);
  config.group_size = c.group_size;
  config.range = range_method(c.range);
  config.percentile = c.percentile;
  return quantize_affine(w, config);
}

QuantizedMatrix codebook(MatrixView<const float> w, const QuantizationConfig& c) {
  const CodebookConfig config{.codebook = c.codebook == "fp4" ? kFp4 : kNf4,
                              .group_size = c.group_size};
  QuantizedMatrix q = quantize_codebook(w, config);
  if (c.double_quant) (void)double_quantize_scales(q);
  return q;
}

QuantizedMatrix fp8(MatrixView<const float> w, const QuantizationConfig& c) {
  Fp8Config config;
  config.format = c.fp8_format == "e5m2" ? DType::e5m2 : DType::e4m3;
  config.granularity = granularity(c, Granularity::per_block);
  config.group_size = c.group_size;
  return quantize_fp8(w, config);
}

Part gptq_part(const NamedWeight& w, const InputStatistics& inputs, const QuantizationConfig& c,
               Executor& executor) {
  GptqConfig config = c.gptq;
  config.bits = c.bits;
  config.group_size = c.group_size;
  config.symmetric = c.symmetric;
  config.measure_loss = false;  // the report measures what the model gets
  GptqOutcome outcome = gptq(w.view(), inputs.view(), config, executor);
  Part part{std::move(outcome.matrix), std::move(outcome.fallback), {}};
  if (outcome.dead_columns)
    part.remark = fmt::format("{} inputs are always zero", outcome.dead_columns);
  if (outcome.damp_percent > c.gptq.damp_percent)
    part.remark += fmt::format("{}damping raised to {}", part.remark.empty() ? "" : "; ",
                               outcome.damp_percent);
  return part;
}

AwqConfig awq_config(const QuantizationConfig& c) {
  AwqConfig config = c.awq;
  config.bits = c.bits;
  config.group_size = c.group_size;
  config.zero_point = !c.symmetric;
  return config;
}

std::vector<Part> awq_parts(std::span<const NamedWeight> weights, const InputStatistics& inputs,
                            const QuantizationConfig& c, Executor& executor) {
  const AwqConfig config = awq_config(c);
  std::vector<MatrixView<const float>> views;
  for (const auto& w : weights) views.push_back(w.view());
  const AwqScales found = awq_scales(views, inputs.view(), inputs.mean_abs, config, executor);
  std::vector<float> inverse(found.scales.size());
  std::ranges::transform(found.scales, inverse.begin(), [](float s) { return 1.0f / s; });
  const bool scaled = std::ranges::any_of(found.scales, [](float s) { return s != 1.0f; });
  std::vector<Part> parts;
  for (const auto& view : views) {
    Part part{awq_quantize(view, found.scales, inputs.view(), config, executor), {}, {}};
    if (scaled) part.matrix.input_scale = inverse;
    if (found.dead_channels)
      part.remark = fmt::format("{} inputs are always zero", found.dead_channels);
    parts.push_back(std::move(part));
  }
  return parts;
}

std::vector<Part> rounded_parts(std::span<const NamedWeight> weights, const InputStatistics& inputs,
                                const QuantizationConfig& c, Executor& executor) {
  std::vector<Part> parts(weights.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto view = weights[i].view();
    switch (c.method) {
      case Method::affine:
        parts[i].matrix = affine(view, c);
        break;
      case Method::codebook:
        parts[i].matrix = codebook(view, c);
        break;
      case Method::fp8:
        parts[i].matrix = fp8(view, c);
        break;
      default:
        parts[i] = gptq_part(weights[i], inputs, c, executor);
    }
  }
  return parts;
}

std::vector<Part> smoothed_parts(std::span<const NamedWeight> weights,
                                 const InputStatistics& inputs, const QuantizationConfig& c,
                                 Executor& executor) {
  std::vector<float> scales = smoothing_scales(inputs, c.smooth);
  auto parts = rounded_parts(scaled(weights, scales), scaled(inputs, scales), c, executor);
  for (float& s : scales) s = 1.0f / s;
  for (Part& part : parts) part.matrix.input_scale = scales;
  return parts;
}

std::vector<Part> quantize_parts(std::span<const NamedWeight> weights,
                                 const InputStatistics& inputs, const QuantizationConfig& c,
                                 Executor& executor) {
  if (c.method == Method::awq) return awq_parts(weights, inputs, c, executor);
  if (wants_smoothing(c) && !inputs.empty()) return smoothed_parts(weights, inputs, c, executor);
  return rounded_parts(weights, inputs, c, executor);
}

/// tr(E H E^T), E: (n, k). The product runs on the float kernels.
double weighted_square(MatrixView<const float> e, const kernels::PackedMatrix& hessian,
                       Executor& executor) {
  std::vector<float> product(e.rows * e.cols);
  matmul(e, hessian.view, MatrixView<float>{product.data(), e.rows, e.cols}, {}, executor);
  double sum = 0;
  for (std::size_t r = 0; r < e.rows; ++r)
    for (std::size_t c = 0; c < e.cols; ++c)
      sum += static_cast<double>(e(r, c)) * static_cast<double>(product[r * e.cols + c]);
  return sum;
}

double hessian_loss(MatrixView<const float> w, const std::vector<float>& approximation,
                    const kernels::PackedMatrix& hessian, Executor& executor) {
  std::vector<float> difference(approximation);
  for (std::size_t r = 0; r < w.rows; ++r)
    for (std::size_t c = 0; c < w.cols; ++c) difference[r * w.cols + c] -= w(r, c);
  const double signal = weighted_square(w, hessian, executor);
  const double loss = weighted_square({difference.data(), w.rows, w.cols}, hessian, executor);
  return signal > 0 ? loss / signal : 0;
}

/// What the quantized matrix stands for in the coordinates of the unscaled input.
std::vector<float> values_of(const QuantizedMatrix& q) {
  std::vector<float> values(q.rows * q.cols);
  dequantize(q, MatrixView<float>{values.data(), q.rows, q.cols});
  if (!q.input_scale.empty())
    for (std::size_t i = 0; i < values.size(); ++i) values[i] *= q.input_scale[i % q.cols];
  return values;
}

LayerReport report(const NamedWeight& w, const std::vector<float>& approximation) {
  LayerReport row;
  row.name = w.name;
  row.rows = w.rows;
  row.cols = w.cols;
  const ErrorMetrics m = error_metrics(w.view(), {approximation.data(), w.rows, w.cols});
  row.mse = m.mse;
  row.sqnr_db = m.sqnr_db;
  row.cosine = m.cosine;
  row.max_error = m.max_abs;
  return row;
}

template <class T>
void append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

QuantizedMatrix stack(std::vector<Part>& parts) {
  QuantizedMatrix all = std::move(parts.front().matrix);
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const QuantizedMatrix& q = parts[i].matrix;
    if (all.zero_points.empty() !=
        q.zero_points.empty())  // a fallback may differ from its neighbours
      throw Unsupported("parts of one linear were quantized to different kinds of codes");
    all.rows += q.rows;
    append(all.codes, q.codes);
    append(all.scales, q.scales);
    append(all.zero_points, q.zero_points);
  }
  return all;
}

QuantizedLinear keep_float(std::span<const NamedWeight> weights) {
  QuantizedLinear linear;
  linear.matrix.cols = weights.front().cols;
  for (const auto& w : weights) {
    append(linear.values, w.values);
    linear.matrix.rows += w.rows;
    linear.reports.push_back(report(w, w.values));
  }
  return linear;
}

void finish_reports(QuantizedLinear& linear, const QuantizationConfig& config, double seconds) {
  linear.packed = linear.pack(config);
  const kernels::PackedView& view = linear.packed.view;
  for (LayerReport& row : linear.reports) {
    row.scheme = scheme_name(view);
    row.bytes = linear.packed.nbytes() * row.rows / view.n;
    row.bits = stored_bits(view);
    row.seconds = seconds / static_cast<double>(linear.reports.size());
  }
}

}  // namespace

kernels::PackedMatrix QuantizedLinear::pack(const QuantizationConfig& config) const {
  if (values.empty()) return qeff::pack(matrix, config.activations);
  const bool bf16 = config.activations == kernels::Activations::bf16;
  return pack_float({values.data(), matrix.rows, matrix.cols},
                    bf16 ? kernels::WeightFormat::bf16 : kernels::WeightFormat::f32);
}

std::vector<NamedWeight> corrected(std::span<const NamedWeight> weights, const InputStatistics& inputs,
                                   const QuantizationConfig& config, Executor& executor) {
  if (inputs.drift.empty() || config.error_feedback == 0) return {};
  const std::size_t k = inputs.mean_abs.size();
  std::vector<float> all;
  for (const NamedWeight& w : weights) append(all, w.values);
  all = calib::fed_back({all.data(), all.size() / k, k}, inputs.view(), {inputs.drift.data(), k, k},
                        config.error_feedback, config.gptq.damp_percent, executor);
  std::vector<NamedWeight> result;
  for (auto at = all.cbegin(); const NamedWeight& w : weights) {
    const auto end = at + static_cast<std::ptrdiff_t>(w.values.size());
    result.push_back({w.name, {at, end}, w.rows, w.cols});
    at = end;
  }
  return result;
}

kernels::PackedMatrix pack_unquantized(std::span<const NamedWeight> weights) {
  std::vector<float> all;
  for (const NamedWeight& w : weights) append(all, w.values);
  const std::size_t k = weights.front().cols;
  return pack_float({all.data(), all.size() / k, k}, kernels::active().multiplies_bf16 ? kernels::WeightFormat::bf16
                                                                                       : kernels::WeightFormat::f32);
}

void scale_rows(QuantizedMatrix& q, std::span<float> bias, std::size_t first, std::span<const float> factors) {
  for (std::size_t j = 0; j < factors.size(); ++j) {
    for (std::size_t g = 0; g < q.groups(); ++g) q.scales[q.group_index(first + j, g * q.group_size)] *= factors[j];
    if (!bias.empty()) bias[first + j] *= factors[j];
  }
  round_scales(q);
}

QuantizedLinear quantize_linear(std::span<const NamedWeight> weights, const InputStatistics& inputs,
                                const QuantizationConfig& config, Executor& executor) {
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  if (config.method == Method::none) {
    QuantizedLinear linear = keep_float(weights);
    finish_reports(linear, config, seconds());
    return linear;
  }
  const std::vector<NamedWeight> targets = corrected(weights, inputs, config, executor);
  std::vector<Part> parts = quantize_parts(targets.empty() ? weights : targets, inputs, config, executor);
  const double spent = seconds();
  QuantizedLinear linear;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (config.strict && !parts[i].fallback.empty())
      throw Unsupported(fmt::format("{}: {} (strict)", weights[i].name, parts[i].fallback));
    linear.reports.emplace_back().note = parts[i].fallback.empty() ? parts[i].remark : parts[i].fallback;
  }
  linear.matrix = stack(parts);
  round_scales(linear.matrix);
  report_again(weights, inputs, config, spent, linear, executor);
  return linear;
}

void report_again(std::span<const NamedWeight> weights, const InputStatistics& inputs, const QuantizationConfig& config,
                  double seconds, QuantizedLinear& linear, Executor& executor) {
  const std::vector<float> values = values_of(linear.matrix);
  const bool measured = !inputs.empty() && !inputs.sampled;
  kernels::PackedMatrix hessian;
  if (measured) hessian = pack_float(inputs.view());
  auto at = values.begin();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const auto end = at + static_cast<std::ptrdiff_t>(weights[i].values.size());
    const std::vector<float> part(at, end);
    at = end;
    LayerReport row = report(weights[i], part);
    row.note = std::move(linear.reports[i].note);
    if (measured) row.hessian_loss = hessian_loss(weights[i].view(), part, hessian, executor);
    linear.reports[i] = std::move(row);
  }
  finish_reports(linear, config, seconds);
}

}  // namespace qeff::nn
