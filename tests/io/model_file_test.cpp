// Checkpoint::open() of single files: GGUF and llama2.c in the Hugging Face view.
#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "io/files.hpp"
#include "io/gguf_bytes.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/checkpoint.hpp"

namespace qeff {
namespace {

using testing::expect_error;
using testing::GgufBytes;
using testing::raw;
using testing::TemporaryDirectory;
using Json = nlohmann::json;

std::string iota(std::size_t count, float first = 0.0f) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), first);
  return raw(values);
}

/// dim 8, 2 heads of 4, 1 key-value head, 3 tokens, 1 layer; only what the tests look at.
GgufBytes tiny(std::string_view architecture, bool tied = true) {
  const std::string prefix = std::string(architecture) + ".";
  GgufBytes file;
  file.text("general.architecture", architecture).size(prefix + "block_count", 1);
  file.size(prefix + "embedding_length", 8).size(prefix + "feed_forward_length", 16);
  file.size(prefix + "attention.head_count", 2).size(prefix + "attention.head_count_kv", 1);
  file.number(prefix + "attention.layer_norm_rms_epsilon", 1e-5f);
  file.number(prefix + "rope.freq_base", 1e6f).size(prefix + "context_length", 64);
  file.size("tokenizer.ggml.bos_token_id", 1).size("tokenizer.ggml.eos_token_id", 2);
  file.tensor("token_embd.weight", {8, 3}, GgmlType::f32, iota(24));
  file.tensor("blk.0.attn_q.weight", {8, 8}, GgmlType::f32, iota(64));
  file.tensor("blk.0.attn_k.weight", {8, 4}, GgmlType::f32, iota(32));
  file.tensor("blk.0.attn_v.weight", {8, 4}, GgmlType::f32, iota(32));
  file.tensor("blk.0.attn_q.bias", {8}, GgmlType::f32, iota(8));
  if (!tied) file.tensor("output.weight", {8, 3}, GgmlType::f32, iota(24));
  return file;
}

TEST(ModelFile, AGgufFileHasTheNamesAndTheConfigOfHuggingFace) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("m.gguf", tiny("llama").bytes());
  const auto checkpoint = Checkpoint::open(path);
  EXPECT_EQ(checkpoint->directory(), path);
  EXPECT_EQ(checkpoint->files(), std::vector<std::string>{path});
  const std::string attention = "model.layers.0.self_attn.";
  EXPECT_EQ(checkpoint->names(),
            (std::vector<std::string>{"model.embed_tokens.weight", attention + "k_proj.weight",
                                      attention + "q_proj.bias", attention + "q_proj.weight",
                                      attention + "v_proj.weight"}));
  EXPECT_EQ(checkpoint->shape(attention + "k_proj.weight"), (std::vector<std::size_t>{4, 8}));
  EXPECT_EQ(Json::parse(checkpoint->config()), Json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
    "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "hidden_act": "silu", "max_position_embeddings": 64, "vocab_size": 3,
    "tie_word_embeddings": true, "rms_norm_eps": 1e-5, "rope_theta": 1000000.0,
    "attention_bias": true, "mlp_bias": false, "bos_token_id": 1, "eos_token_id": 2,
    "torch_dtype": "float32"})"));
  EXPECT_EQ(checkpoint->read_text("config.json"), checkpoint->config());
  EXPECT_EQ(checkpoint->read_text("tokenizer.json"), "");
  EXPECT_EQ(checkpoint->read_text("vocab.txt"), "");
  expect_error<FormatError>([&] { (void)checkpoint->read_text("../x"); }, {"../x"});
  expect_error<FormatError>([&] { (void)checkpoint->floats(attention + "q_proj.weigh"); },
                            {path, "has no tensor", "close:", "q_proj.weight"});
}

std::vector<float> first_column(const Checkpoint& checkpoint, const std::string& name) {
  const auto values = checkpoint.floats(name);
  const auto shape = checkpoint.shape(name);
  const std::size_t width = shape.size() == 2 ? shape[1] : 1;
  std::vector<float> column;
  for (std::size_t row = 0; row < shape[0]; ++row)
    column.push_back(values[row * width] / static_cast<float>(width));
  return column;
}

TEST(ModelFile, RowsOfLlamaQueriesAndKeysComeBackInHalves) {
  const TemporaryDirectory directory;
  const auto llama = Checkpoint::open(directory.file("m.gguf", tiny("llama").bytes()));
  const std::string attention = "model.layers.0.self_attn.";
  const std::vector<float> heads{0, 2, 1, 3, 4, 6, 5, 7};
  EXPECT_EQ(first_column(*llama, attention + "q_proj.weight"), heads);
  EXPECT_EQ(first_column(*llama, attention + "q_proj.bias"), heads);
  EXPECT_EQ(first_column(*llama, attention + "k_proj.weight"), (std::vector<float>{0, 2, 1, 3}));
  EXPECT_EQ(first_column(*llama, attention + "v_proj.weight"), (std::vector<float>{0, 1, 2, 3}));
  expect_error<Unsupported>([&] { (void)llama->tensor(attention + "q_proj.weight"); },
                            {"another order", "floats()"});
  EXPECT_EQ(llama->tensor(attention + "v_proj.weight").nbytes, 128u);
  for (const std::string architecture : {"qwen2", "qwen3"}) {
    const auto qwen = Checkpoint::open(directory.file("q.gguf", tiny(architecture).bytes()));
    EXPECT_EQ(Json::parse(qwen->config())["model_type"], architecture);
    EXPECT_EQ(first_column(*qwen, attention + "q_proj.weight"),
              (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7}));
    EXPECT_EQ(qwen->tensor(attention + "q_proj.weight").dtype, DType::f32);
  }
}

TEST(ModelFile, BlocksAreReadAsFloatsOnly) {
  const TemporaryDirectory directory;
  GgufBytes file = tiny("llama", false);
  const BlockQ8_0 block{0x3C00, {1, -2, 3}};
  file.tensor("blk.0.ffn_up.weight", {32, 1}, GgmlType::q8_0, raw(block));
  file.tensor("blk.0.ffn_norm.weight", {2}, GgmlType::f32,
              raw(std::vector<float>{1.0f, std::numeric_limits<float>::infinity()}));
  file.tensor("rope_freqs.weight", {2}, GgmlType::f32, raw(std::vector<float>{1.0f, 1.0f}));
  const auto checkpoint = Checkpoint::open(directory.file("m.gguf", file.bytes()));
  const std::string name = "model.layers.0.mlp.up_proj.weight";
  EXPECT_EQ(checkpoint->floats(name)[2], 3.0f);
  expect_error<Unsupported>([&] { (void)checkpoint->tensor(name); },
                            {name, "stored as Q8_0", "floats()"});
  expect_error<FormatError>(
      [&] { (void)checkpoint->floats("model.layers.0.post_attention_layernorm.weight"); },
      {"post_attention_layernorm", "Inf at flat index 1"});
  EXPECT_TRUE(checkpoint->contains("lm_head.weight"));
  EXPECT_FALSE(Json::parse(checkpoint->config())["tie_word_embeddings"].get<bool>());
  EXPECT_FALSE(checkpoint->contains("rope_freqs.weight"));
}

TEST(ModelFile, RopeScalingIsTranslated) {
  const TemporaryDirectory directory;
  const auto scaling = [&](GgufBytes file) {
    const auto checkpoint = Checkpoint::open(directory.file("m.gguf", file.bytes()));
    return Json::parse(checkpoint->config()).value("rope_scaling", Json());
  };
  EXPECT_EQ(scaling(tiny("llama").text("llama.rope.scaling.type", "none")), Json());
  EXPECT_EQ(scaling(tiny("llama")
                        .text("llama.rope.scaling.type", "linear")
                        .number("llama.rope.scaling.factor", 4)),
            Json::parse(R"({"rope_type": "linear", "factor": 4.0})"));
  EXPECT_EQ(scaling(tiny("qwen2")
                        .text("qwen2.rope.scaling.type", "yarn")
                        .number("qwen2.rope.scaling.factor", 4)
                        .size("qwen2.rope.scaling.original_context_length", 32)),
            Json::parse(
                R"({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32})"));
  // theta 1e6, heads of 4: wavelengths of 2 pi, left alone, and 2000 pi, between the limits.
  const float smooth = static_cast<float>((8192.0 / 6283.185307 - 1.0) / 3.0);
  const auto divided = [&](float factor) {
    return raw(std::vector<float>{1.0f, 1.0f / ((1.0f - smooth) / factor + smooth)});
  };
  expect_error<Unsupported>(
      [&] {
        (void)scaling(tiny("llama").tensor("rope_freqs.weight", {2}, GgmlType::f32, divided(8)));
      },
      {"rope_freqs.weight"});
  GgufBytes large = tiny("llama");
  large.size("llama.attention.key_length", 6).size("llama.rope.dimension_count", 6);
  const double wavelength = 6.283185307179586 * 100.0;  // index 1 of 3: theta^(1/3)
  EXPECT_LT(wavelength, 2048.0);
  large.tensor("rope_freqs.weight", {3}, GgmlType::f32, raw(std::vector<float>{1.0f, 1.0f, 32.0f}));
  EXPECT_EQ(scaling(large), Json::parse(R"({"rope_type": "llama3", "factor": 32.0,
    "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})"));
  expect_error<Unsupported>(
      [&] { (void)scaling(tiny("llama").size("llama.rope.dimension_count", 2)); },
      {"part of each head"});
}

TEST(ModelFile, GgufModelsThatQeffCannotRunAreNamed) {
  const TemporaryDirectory directory;
  const auto open = [&](const GgufBytes& file) {
    return [&, bytes = file.bytes()] { (void)Checkpoint::open(directory.file("m.gguf", bytes)); };
  };
  expect_error<Unsupported>(open(tiny("mamba")), {"'mamba'", "llama qwen2 qwen3"});
  expect_error<Unsupported>(open(tiny("llama").size("llama.expert_count", 8)), {"experts"});
  expect_error<Unsupported>(open(tiny("llama").size("split.count", 2)), {"split"});
  expect_error<Unsupported>(
      open(tiny("llama").tensor("blk.0.magic.weight", {1}, GgmlType::f32, raw(1.0f))),
      {"'blk.0.magic.weight' has no place"});
  expect_error<FormatError>(
      open(tiny("llama").tensor("blk.00.attn_v.weight", {1}, GgmlType::f32, raw(1.0f))),
      {"there twice"});
  expect_error<FormatError>(open(tiny("llama")
                                     .value("llama.rope.scaling.factor", GgufType::f64, raw(1e300))
                                     .text("llama.rope.scaling.type", "linear")),
                            {"'llama.rope.scaling.factor' is not a finite float"});
  expect_error<FormatError>(open(GgufBytes()), {"no key 'general.architecture'"});
  expect_error<FormatError>(open(GgufBytes().text("general.architecture", "llama")),
                            {"no key 'llama.attention.head_count'"});
  expect_error<FormatError>(open(GgufBytes().size("general.architecture", 1)),
                            {"'general.architecture' is not a string"});
  expect_error<FormatError>(
      open(tiny("llama").tensor("blk.1.attn_q.bias", {3}, GgmlType::f32, iota(3))),
      {"its 3 rows are not those of 2 heads"});
}

struct Llama2c {
  std::int32_t dim = 8, hidden = 12, layers = 2, heads = 2, kv_heads = 1, vocabulary = 5,
               context = 6;
  bool shared = true;

  /// Values count on through the file, from `first`.
  [[nodiscard]] std::string data(bool legacy) const {
    const auto n = [](std::int32_t a, std::int32_t b) { return static_cast<std::size_t>(a * b); };
    const std::size_t kv = n(kv_heads * (dim / heads), dim);
    const std::size_t layer = n(2, dim) + 2 * n(dim, dim) + 2 * kv + 3 * n(hidden, dim);
    return iota(layer * static_cast<std::size_t>(layers) + n(1, dim) +
                n(shared ? 1 : 2, vocabulary) * n(1, dim) + (legacy ? n(context, dim / heads) : 0));
  }
  [[nodiscard]] std::string sizes(std::int32_t sign) const {
    return raw(std::vector<std::int32_t>{dim, hidden, layers, heads, kv_heads, sign * vocabulary,
                                         context});
  }
  [[nodiscard]] std::string legacy() const { return sizes(shared ? 1 : -1) + data(true); }
  [[nodiscard]] std::string version1() const {
    std::string header = raw(0x616b3432u) + raw(1) + sizes(1) + raw<std::uint8_t>(shared);
    header.resize(256, '\0');
    return header + data(false);
  }
};

TEST(ModelFile, BothLayoutsOfLlama2cAreRead) {
  const TemporaryDirectory directory;
  for (const bool shared : {true, false}) {
    Llama2c model;
    model.shared = shared;
    const auto legacy = Checkpoint::open(directory.file("l.bin", model.legacy()));
    const auto version1 = Checkpoint::open(directory.file("v.bin", model.version1()));
    EXPECT_EQ(legacy->config(), version1->config());
    EXPECT_EQ(legacy->names(), version1->names());
    EXPECT_EQ(legacy->names().size(), 2u * 9u + 2u + (shared ? 0u : 1u));
    EXPECT_EQ(legacy->contains("lm_head.weight"), !shared);
    // legacy: embedding, then norms of both layers; version 1: the norms first
    EXPECT_EQ(legacy->floats("model.embed_tokens.weight").front(), 0.0f);
    EXPECT_EQ(legacy->floats("model.layers.1.input_layernorm.weight").front(), 48.0f);
    EXPECT_EQ(version1->floats("model.layers.1.input_layernorm.weight").front(), 8.0f);
    EXPECT_EQ(version1->floats("model.layers.0.post_attention_layernorm.weight").front(), 16.0f);
    const auto query = legacy->floats("model.layers.0.self_attn.q_proj.weight");
    EXPECT_EQ(query[8] - query[0], 16.0f);  // the second row was the third
    const Json config = Json::parse(legacy->config());
    EXPECT_EQ(config["num_key_value_heads"], 1);
    EXPECT_EQ(config["vocab_size"], 5);
    EXPECT_EQ(config["tie_word_embeddings"], shared);
  }
}

TEST(ModelFile, OtherFilesAreRefused) {
  const TemporaryDirectory directory;
  const auto refuse = [&](const std::string& bytes, const std::vector<std::string>& parts) {
    expect_error<FormatError>([&] { (void)Checkpoint::open(directory.file("m.bin", bytes)); },
                              parts);
  };
  refuse("", {"m.bin", "empty"});
  refuse("PK\3\4 this is a pickle, not a checkpoint of llama2.c",
         {"neither a GGUF nor a llama2.c"});
  const Llama2c good;
  for (const std::string& bytes : {good.legacy(), good.version1()}) {
    refuse(bytes + "x", {"neither", "truncated?"});
    for (std::size_t part = 0; part < 37; ++part)
      refuse(bytes.substr(0, bytes.size() * part / 37), {"m.bin"});
  }
  for (std::int32_t Llama2c::*field :
       {&Llama2c::dim, &Llama2c::hidden, &Llama2c::layers, &Llama2c::heads, &Llama2c::kv_heads,
        &Llama2c::vocabulary, &Llama2c::context})
    for (const std::int32_t value : {0, 3, 1 << 24, std::numeric_limits<std::int32_t>::min(),
                                     std::numeric_limits<std::int32_t>::max()}) {
      Llama2c bad;
      bad.*field = value;
      refuse(bad.sizes(1) + good.data(true), {"neither a GGUF nor a llama2.c"});
    }
  std::string version1 = good.version1();
  version1[4] = 2;
  expect_error<Unsupported>([&] { (void)Checkpoint::open(directory.file("m.bin", version1)); },
                            {"version 2"});
  version1[4] = 9;
  refuse(version1, {"llama2.c version 9 is unknown"});
}

TEST(ModelFile, OneModelInThreeFormatsHasTheSameFloats) {
  const std::string folder = QEFF_SHARED_DIR "/data/llm/stories260K/";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const auto gguf = Checkpoint::open(folder + "stories260Ktok512.gguf");
  const auto legacy = Checkpoint::open(folder + "stories260K.bin");
  const auto version1 = Checkpoint::open(folder + "checkpoint_v1.bin");
  EXPECT_EQ(legacy->names(), version1->names());
  for (const std::string& name : legacy->names()) {
    EXPECT_EQ(legacy->floats(name), version1->floats(name)) << name;
    EXPECT_EQ(legacy->floats(name), gguf->floats(name)) << name;
    EXPECT_EQ(legacy->shape(name), gguf->shape(name)) << name;
  }
  EXPECT_EQ(gguf->floats("lm_head.weight"), legacy->floats("model.embed_tokens.weight"));
}

}  // namespace
}  // namespace qeff
