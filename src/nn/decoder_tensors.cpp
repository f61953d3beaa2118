#include "nn/decoder_tensors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <utility>

#include "qeff/core/error.hpp"

namespace qeff::nn {
namespace {

constexpr std::size_t kNamedMissing = 10;

void append(std::vector<float>& to, const std::vector<float>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

/// Rows [first, first + rows) as a weight of their own.
NamedWeight rows_of(const NamedWeight& all, std::string name, std::size_t first, std::size_t rows) {
  const float* from = all.values.data() + first * all.cols;
  return {std::move(name), {from, from + rows * all.cols}, rows, all.cols};
}

/// Row of the source for each row of the stacked q, k, v, where every head keeps its own three.
std::vector<std::size_t> rows_by_head(const DecoderShape& s) {
  std::vector<std::size_t> rows;
  for (std::size_t part = 0; part < 3; ++part)
    for (std::size_t head = 0; head < s.heads; ++head)
      for (std::size_t i = 0; i < s.head_dim; ++i) rows.push_back((head * 3 + part) * s.head_dim + i);
  return rows;
}

void reorder(std::vector<float>& values, const std::vector<std::size_t>& rows, std::size_t cols) {
  std::vector<float> sorted(values.size());
  for (std::size_t r = 0; r < rows.size(); ++r)
    std::copy_n(values.data() + rows[r] * cols, cols, sorted.data() + r * cols);
  values = std::move(sorted);
}

}  // namespace

DecoderTensors::DecoderTensors(const Checkpoint& checkpoint, const DecoderShape& shape)
    : checkpoint_(checkpoint), shape_(shape), names_(shape.architecture()), prefix_(find_prefix()) {
  require_all();
}

std::string DecoderTensors::find_prefix() const {
  for (const std::string_view prefix : {names_.prefix, std::string_view(""), std::string_view("decoder.")})
    if (checkpoint_.contains(fmt::format("{}{}.weight", prefix, names_.words))) return std::string(prefix);
  return std::string(names_.prefix);
}

std::string DecoderTensors::stem(std::string_view name, std::size_t layer) const {
  return (name == names_.lm_head ? "" : prefix_) + fmt::format(fmt::runtime(name), layer);
}

void DecoderTensors::require_all() const {
  const DecoderArchitecture& a = names_;
  std::vector<std::string> missing;
  const auto want = [&](std::string_view name, std::size_t layer, bool biased) {
    if (name.empty()) return;
    for (const char* end : {".weight", ".bias"}) {
      if (end[1] == 'b' && !biased) continue;
      if (std::string tensor = stem(name, layer) + end; !checkpoint_.contains(tensor)) missing.push_back(tensor);
    }
  };
  const bool layer_norm = a.norm == NormKind::layer;
  want(a.words, 0, false);
  want(a.positions, 0, false);
  want(a.final_norm, 0, layer_norm);
  if (!shape_.tied) want(a.lm_head, 0, false);
  for (std::size_t i = 0; i < shape_.layers && missing.size() <= kNamedMissing; ++i) {
    if (a.qkv_layout == QkvLayout::separate)
      for (const auto name : {a.q, a.k, a.v}) want(name, i, a.biases);
    for (const auto name : {a.qkv, a.attn_out, a.gate_up, a.down}) want(name, i, a.biases);
    if (a.gate_up.empty())
      for (const auto name : {a.gate, a.up}) want(name, i, a.biases);
    for (const auto name : {a.attn_norm, a.post_attn_norm, a.ffn_norm, a.post_ffn_norm}) want(name, i, layer_norm);
    for (const auto name : {a.q_norm, a.k_norm}) want(name, i, false);
  }
  if (missing.empty()) return;
  const bool more = missing.size() > kNamedMissing;
  if (more) missing.resize(kNamedMissing);
  throw FormatError(checkpoint_.directory(), fmt::format("tensors of a \"{}\" are missing: {}{}", a.model_type,
                                                         fmt::join(missing, ", "), more ? " and more" : ""));
}

std::vector<float> DecoderTensors::read(const std::string& tensor, std::size_t rows, std::size_t cols) const {
  const std::vector<std::size_t> wanted = cols ? std::vector{rows, cols} : std::vector{rows};
  if (const auto shape = checkpoint_.shape(tensor); shape != wanted)
    throw FormatError(checkpoint_.directory(),
                      fmt::format("tensor \"{}\" has shape [{}]; config.json asks for [{}]", tensor,
                                  fmt::join(shape, ", "), fmt::join(wanted, ", ")));
  return checkpoint_.floats(tensor);
}

NamedWeight DecoderTensors::matrix(std::string_view name, std::size_t n, std::size_t k, std::size_t layer) const {
  std::string stem_name = stem(name, layer);
  if (!names_.transposed) {
    auto values = read(stem_name + ".weight", n, k);
    return {std::move(stem_name), std::move(values), n, k};
  }
  const std::vector<float> stored = read(stem_name + ".weight", k, n);
  std::vector<float> values(n * k);
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = 0; j < n; ++j) values[j * k + i] = stored[i * n + j];
  return {std::move(stem_name), std::move(values), n, k};
}

std::vector<float> DecoderTensors::bias(std::string_view name, std::size_t n, std::size_t layer) const {
  const std::string tensor = stem(name, layer) + ".bias";
  return checkpoint_.contains(tensor) ? read(tensor, n, 0) : std::vector<float>{};
}

LinearParts DecoderTensors::single(std::string_view name, std::size_t n, std::size_t k, std::size_t layer) const {
  LinearParts parts;
  parts.weights.push_back(matrix(name, n, k, layer));
  parts.bias = bias(name, n, layer);
  return parts;
}

NamedWeight DecoderTensors::words() const {
  std::string name = stem(names_.words, 0);
  auto values = read(name + ".weight", shape_.vocab, shape_.hidden);
  return {std::move(name), std::move(values), shape_.vocab, shape_.hidden};
}

std::vector<float> DecoderTensors::positions() const {
  if (names_.positions.empty()) return {};
  return read(stem(names_.positions, 0) + ".weight", shape_.positions + names_.position_offset, shape_.hidden);
}

LinearParts DecoderTensors::lm_head() const {
  LinearParts parts;
  const std::string name(names_.lm_head);
  parts.weights.push_back({name, read(name + ".weight", shape_.vocab, shape_.hidden), shape_.vocab, shape_.hidden});
  parts.bias = bias(names_.lm_head, shape_.vocab, 0);
  return parts;
}

LinearParts DecoderTensors::qkv(std::size_t layer) const {
  const DecoderShape& s = shape_;
  const std::array sizes{s.q_size(), s.kv_size(), s.kv_size()};
  LinearParts parts;
  if (names_.qkv_layout == QkvLayout::separate) {
    const std::array names{names_.q, names_.k, names_.v};
    std::array<std::vector<float>, 3> biases;
    for (std::size_t i = 0; i < 3; ++i) {
      parts.weights.push_back(matrix(names[i], sizes[i], s.hidden, layer));
      biases[i] = bias(names[i], sizes[i], layer);
    }
    if (std::ranges::all_of(biases, [](const auto& b) { return b.empty(); })) return parts;
    for (std::size_t i = 0; i < 3; ++i) {
      biases[i].resize(sizes[i]);  // zeros where one of them has none
      append(parts.bias, biases[i]);
    }
    return parts;
  }
  LinearParts all = single(names_.qkv, s.qkv_size(), s.hidden, layer);
  if (names_.qkv_layout == QkvLayout::by_head) {
    const auto rows = rows_by_head(s);
    reorder(all.weights[0].values, rows, s.hidden);
    if (!all.bias.empty()) reorder(all.bias, rows, 1);
  }
  std::size_t row = 0;
  for (std::size_t i = 0; i < 3; row += sizes[i++])
    parts.weights.push_back(rows_of(all.weights[0], fmt::format("{}[{}]", all.weights[0].name, "qkv"[i]), row, sizes[i]));
  parts.bias = std::move(all.bias);
  return parts;
}

LinearParts DecoderTensors::attn_out(std::size_t layer) const {
  return single(names_.attn_out, shape_.hidden, shape_.q_size(), layer);
}

LinearParts DecoderTensors::up(std::size_t layer) const {
  const std::size_t n = shape_.intermediate, k = shape_.hidden;
  LinearParts parts;
  if (!names_.gate_up.empty()) {
    LinearParts all = single(names_.gate_up, 2 * n, k, layer);
    const std::string& name = all.weights[0].name;
    parts.weights = {rows_of(all.weights[0], name + "[gate]", 0, n), rows_of(all.weights[0], name + "[up]", n, n)};
    parts.bias = std::move(all.bias);
    return parts;
  }
  parts = single(names_.up, n, k, layer);
  if (names_.gate.empty()) return parts;
  LinearParts gate = single(names_.gate, n, k, layer);
  gate.weights.push_back(std::move(parts.weights[0]));
  append(gate.bias, parts.bias);
  return gate;
}

LinearParts DecoderTensors::down(std::size_t layer) const {
  return single(names_.down, shape_.hidden, shape_.intermediate, layer);
}

NormValues DecoderTensors::norm(std::string_view name, std::size_t n, std::size_t layer) const {
  if (name.empty()) return {};
  NormValues values;
  values.gamma = read(stem(name, layer) + ".weight", n, 0);
  if (names_.norm == NormKind::layer) values.beta = read(stem(name, layer) + ".bias", n, 0);
  if (names_.norm == NormKind::rms_one)
    for (float& g : values.gamma) g += 1.0f;
  return values;
}

}  // namespace qeff::nn
