/// @file
/// A tiny random BERT on disk and token batches for it. Seeded: the same bytes everywhere.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "qeff/io/safetensors.hpp"
#include "qeff/nn/token_batch.hpp"

namespace qeff::test {

/// A directory that is gone when the test is.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("qeff_nn_" + std::to_string(::getpid()) + "_" + std::to_string(count++));
    std::filesystem::create_directories(path_);
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }
  [[nodiscard]] std::string string() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

inline constexpr std::size_t kLayers = 2, kHidden = 32, kHeads = 4, kInner = 64, kVocab = 50,
                             kPositions = 40;

inline const char* const kConfig =
    R"({"model_type": "bert", "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4,
        "intermediate_size": 64, "vocab_size": 50, "max_position_embeddings": 40, "type_vocab_size": 2,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12})";

using Tensors = std::map<std::string, std::pair<std::vector<std::size_t>, std::vector<float>>>;

inline Tensors tiny_tensors() {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 0.2f);
  Tensors tensors;
  const auto add = [&](const std::string& name, std::vector<std::size_t> shape) {
    std::size_t n = 1;
    for (const std::size_t d : shape) n *= d;
    std::vector<float> values(n);
    for (float& v : values) v = normal(random) + (name.ends_with("LayerNorm.weight") ? 1.0f : 0.0f);
    tensors[name] = {std::move(shape), std::move(values)};
  };
  const auto linear = [&](const std::string& name, std::size_t n, std::size_t k) {
    add(name + ".weight", {n, k});
    add(name + ".bias", {n});
  };
  add("embeddings.word_embeddings.weight", {kVocab, kHidden});
  add("embeddings.position_embeddings.weight", {kPositions, kHidden});
  add("embeddings.token_type_embeddings.weight", {2, kHidden});
  add("embeddings.LayerNorm.weight", {kHidden});
  add("embeddings.LayerNorm.bias", {kHidden});
  for (std::size_t i = 0; i < kLayers; ++i) {
    const std::string layer = "encoder.layer." + std::to_string(i) + ".";
    for (const char* part : {"query", "key", "value"})
      linear(layer + "attention.self." + part, kHidden, kHidden);
    linear(layer + "attention.output.dense", kHidden, kHidden);
    add(layer + "attention.output.LayerNorm.weight", {kHidden});
    add(layer + "attention.output.LayerNorm.bias", {kHidden});
    linear(layer + "intermediate.dense", kInner, kHidden);
    linear(layer + "output.dense", kHidden, kInner);
    add(layer + "output.LayerNorm.weight", {kHidden});
    add(layer + "output.LayerNorm.bias", {kHidden});
  }
  return tensors;
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

/// Writes the model to `directory`; `change` may spoil it first.
inline void write_tiny_bert(const TemporaryDirectory& directory,
                            const std::function<void(Tensors&)>& change = {}) {
  Tensors tensors = tiny_tensors();
  if (change) change(tensors);
  std::vector<NamedTensor> named;
  for (auto& [name, tensor] : tensors)
    named.push_back(
        {name,
         {DType::f32, tensor.first, reinterpret_cast<const std::byte*>(tensor.second.data()),
          tensor.second.size() * sizeof(float)}});
  write_safetensors(directory.file("model.safetensors"), named);
  write_text(directory.file("config.json"), kConfig);
}

/// Sequences of the given lengths, ids spread over the vocabulary.
inline TokenBatch batch_of(const std::vector<std::size_t>& lengths) {
  TokenBatch batch;
  batch.offsets.push_back(0);
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    for (std::size_t t = 0; t < lengths[s]; ++t)
      batch.ids.push_back(static_cast<std::int32_t>((s * 13 + t * 7 + 3) % kVocab));
    batch.offsets.push_back(batch.ids.size());
  }
  return batch;
}

}  // namespace qeff::test
