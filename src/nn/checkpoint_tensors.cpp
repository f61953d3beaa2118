#include "nn/checkpoint_tensors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "qeff/core/error.hpp"

namespace qeff::nn {
namespace {

constexpr std::size_t kNamedMissing = 10;

std::string shape_text(const std::vector<std::size_t>& shape) {
  TensorView view;
  view.shape = shape;
  return view.shape_string();
}

}  // namespace

CheckpointTensors::CheckpointTensors(const Checkpoint& checkpoint, const EncoderShape& shape)
    : checkpoint_(checkpoint),
      architecture_(*find_encoder_architecture(shape.model_type)),
      prefix_(find_prefix()) {
  require_all(shape.layers);
}

std::string CheckpointTensors::find_prefix() const {
  const std::array<std::string, 4> candidates{"", std::string(architecture_.prefix), "model.",
                                              "0.auto_model."};
  for (const std::string& prefix : candidates)
    if (checkpoint_.contains(fmt::format("{}{}.weight", prefix, architecture_.words)))
      return prefix;
  return "";
}

std::string CheckpointTensors::stem(std::string_view name, std::size_t layer) const {
  return prefix_ + fmt::format(fmt::runtime(name), layer);
}

std::string CheckpointTensors::stored(const std::string& tensor) const {
  if (checkpoint_.contains(tensor)) return tensor;
  // Checkpoints made with TensorFlow call the parameters of a LayerNorm gamma and beta.
  for (const auto& [now, then] : {std::pair{".weight", ".gamma"}, std::pair{".bias", ".beta"}})
    if (tensor.ends_with(now))
      if (auto old = tensor.substr(0, tensor.size() - std::string_view(now).size()) + then;
          checkpoint_.contains(old))
        return old;
  return tensor;
}

std::vector<std::string> CheckpointTensors::required(std::size_t layers) const {
  const Architecture& a = architecture_;
  std::vector<std::string> names;
  for (const auto name : {a.words, a.positions, a.types, a.attention_bias})
    if (!name.empty()) names.push_back(stem(name, 0) + ".weight");
  for (const char* end : {".weight", ".bias"}) names.push_back(stem(a.embedding_norm, 0) + end);
  for (std::size_t i = 0; i < layers; ++i)
    for (const auto name : {a.q, a.k, a.v, a.attn_out, a.attn_norm, a.ffn1, a.ffn2, a.ffn_norm})
      for (const char* end : {".weight", ".bias"}) names.push_back(stem(name, i) + end);
  return names;
}

void CheckpointTensors::require_all(std::size_t layers) const {
  std::vector<std::string> missing;
  for (const std::string& name : required(layers)) {
    if (checkpoint_.contains(stored(name))) continue;
    missing.push_back(name);
    if (missing.size() > kNamedMissing) break;
  }
  if (missing.empty()) return;
  const bool more = missing.size() > kNamedMissing;
  if (more) missing.pop_back();
  throw FormatError(checkpoint_.directory(),
                    fmt::format("tensors of a \"{}\" are missing: {}{}", architecture_.model_type,
                                fmt::join(missing, ", "), more ? " and more" : ""));
}

std::vector<float> CheckpointTensors::read(const std::string& name,
                                           const std::vector<std::size_t>& shape) const {
  const std::string in_file = stored(name);
  if (const auto found = checkpoint_.shape(in_file); found != shape)
    throw FormatError(checkpoint_.directory(),
                      fmt::format("tensor \"{}\" has shape {}; config.json asks for {}", in_file,
                                  shape_text(found), shape_text(shape)));
  return checkpoint_.floats(in_file);
}

NamedWeight CheckpointTensors::matrix(std::string_view name, std::size_t rows, std::size_t cols,
                                      std::size_t layer) const {
  const std::string stem_name = stem(name, layer);
  return {stem_name, read(stem_name + ".weight", {rows, cols}), rows, cols};
}

std::vector<float> CheckpointTensors::bias(std::string_view name, std::size_t n,
                                           std::size_t layer) const {
  return read(stem(name, layer) + ".bias", {n});
}

NormValues CheckpointTensors::norm(std::string_view name, std::size_t n, std::size_t layer) const {
  const std::string stem_name = stem(name, layer);
  return {read(stem_name + ".weight", {n}), read(stem_name + ".bias", {n})};
}

}  // namespace qeff::nn
