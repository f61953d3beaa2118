#include "qeff/nn/compile_encoder.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "nn/expect_message.hpp"
#include "nn/tiny_bert.hpp"
#include "qeff/core/error.hpp"
#include "qeff/nn/encoder.hpp"

namespace qeff {
namespace {

class CompileEncoder : public ::testing::Test {
 protected:
  std::vector<LayerReport> compile(const std::string& config = "{}",
                                   const TokenBatch& calibration = {},
                                   const CompileOptions& options = {}) {
    return compile_encoder(*Checkpoint::open(directory_.string()),
                           quantization_config_from_json(config), calibration, options, out_);
  }
  std::vector<float> embed(const TokenBatch& batch) {
    const Encoder encoder = load(out_, 2);
    std::vector<float> result(batch.sequences() * encoder.hidden_size());
    encoder.embed(batch, Pooling::mean, true, result);
    return result;
  }
  bool written() const { return std::filesystem::exists(out_); }

  test::TemporaryDirectory directory_, other_;
  std::string out_ = other_.file("model.qeff");
  TokenBatch tokens_ = test::batch_of({20, 30, 7, 11, 25, 33, 19, 40, 40, 40});
};

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double dot = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = a[i], y = b[i];
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  return dot / std::sqrt(aa * bb);
}

TEST_F(CompileEncoder, EveryMethodStaysCloseToTheFloatModel) {
  test::write_tiny_bert(directory_);
  compile(R"({"method": "none", "embedding_bits": 32})");
  const auto reference = embed(tokens_);
  const std::vector<std::pair<std::string, double>> bounds{
      {R"({"method": "affine"})", 0.999},
      {R"({"method": "affine", "per_tensor": true})", 0.999},
      {R"({"method": "fp8"})", 0.998},
      {R"({"method": "affine", "bits": 4, "group_size": 16, "range": "mse"})", 0.95},
      {R"({"method": "codebook", "group_size": 16, "double_quant": true})", 0.95},
      {R"({"method": "gptq", "group_size": 16})", 0.97},
      {R"({"method": "gptq", "group_size": 16, "propagate": false, "desc_act": true})", 0.97},
      {R"({"method": "awq", "group_size": 16})", 0.97}};
  for (const auto& [config, bound] : bounds) {
    const auto reports = compile(config, tokens_);
    EXPECT_EQ(reports.size(), 6 * test::kLayers);
    for (const auto& row : reports) {
      EXPECT_GT(row.cosine, 0.98) << config << row.name;
      EXPECT_GT(row.hessian_loss, 0) << config << row.name;
      EXPECT_LT(row.hessian_loss, 0.05) << config << row.name;
    }
    EXPECT_GT(cosine(embed(tokens_), reference), bound) << config;
  }
}

TEST_F(CompileEncoder, WritesTheSameBytesForAnyNumberOfThreads) {
  test::write_tiny_bert(directory_);
  for (const char* config :
       {R"({"method": "gptq", "group_size": 16})", R"({"method": "awq", "group_size": 16})"}) {
    std::vector<std::vector<float>> results;
    for (const std::size_t threads : {1u, 2u}) {
      CompileOptions options;
      options.threads = threads;
      compile(config, tokens_, options);
      results.push_back(embed(tokens_));
    }
    EXPECT_EQ(results[0], results[1]) << config;
  }
}

TEST_F(CompileEncoder, FoldsTheScalesOfTheAttentionOutputIntoTheValues) {
  test::write_tiny_bert(directory_);
  compile(R"({"method": "awq", "group_size": 16})", tokens_);
  const auto artifact = Artifact::open(out_);
  EXPECT_FALSE(artifact->contains("layers.0.attn_out.input_scale"));
  EXPECT_TRUE(artifact->contains("layers.0.ffn2.input_scale") ||
              artifact->contains("layers.0.qkv.input_scale"));
}

TEST_F(CompileEncoder, NamesTheMissingTensorsUpToTen) {
  test::write_tiny_bert(directory_, [](test::Tensors& t) {
    t.erase("encoder.layer.1.attention.self.key.bias");
    t.erase("embeddings.LayerNorm.weight");
  });
  test::expect_message<FormatError>([&] { compile(); }, {"encoder.layer.1.attention.self.key.bias",
                                                         "embeddings.LayerNorm.weight"});
  test::write_tiny_bert(directory_, [](test::Tensors& t) {
    std::erase_if(t, [](const auto& entry) { return entry.first.starts_with("encoder.layer.1."); });
  });
  test::expect_message<FormatError>([&] { compile(); }, {" and more"});
  EXPECT_FALSE(written());
}

TEST_F(CompileEncoder, FindsTensorsUnderAPrefixAndOldNamesOfLayerNorm) {
  test::write_tiny_bert(directory_);
  compile();
  const auto plain = embed(tokens_);
  test::write_tiny_bert(directory_, [](test::Tensors& t) {
    test::Tensors renamed;
    for (auto& [name, tensor] : t) {
      std::string now = "bert." + name;
      if (const auto at = now.find("LayerNorm.weight"); at != std::string::npos)
        now.replace(at, 16, "LayerNorm.gamma");
      renamed[now] = std::move(tensor);
    }
    t = std::move(renamed);
  });
  compile();
  EXPECT_EQ(embed(tokens_), plain);
}

TEST_F(CompileEncoder, NamesATensorOfTheWrongShape) {
  test::write_tiny_bert(directory_, [](test::Tensors& t) {
    auto& tensor = t["encoder.layer.0.output.dense.weight"];
    tensor.first = {test::kInner, test::kHidden};
  });
  test::expect_message<FormatError>(
      [&] { compile(); }, {"tensor \"encoder.layer.0.output.dense.weight\" has shape (64, 32); "
                           "config.json asks for (32, 64)"});
}

TEST_F(CompileEncoder, NamesTensorAndIndexOfANaN) {
  test::write_tiny_bert(directory_, [](test::Tensors& t) {
    t["encoder.layer.1.intermediate.dense.weight"].second[77] =
        std::numeric_limits<float>::quiet_NaN();
  });
  test::expect_message<FormatError>([&] { compile(); },
                                    {"encoder.layer.1.intermediate.dense.weight", "77"});
  EXPECT_FALSE(written());
}

TEST_F(CompileEncoder, AsksForCalibrationTokensWhereTheyAreNeeded) {
  test::write_tiny_bert(directory_);
  test::expect_message<InvalidArgument>(
      [&] { compile(R"({"method": "gptq"})"); },
      {"method \"gptq\" needs calibration tokens; there are none"});
  TokenBatch wrong = tokens_;
  wrong.ids[0] = 99;
  test::expect_message<InvalidArgument>([&] { compile(R"({"method": "awq"})", wrong); }, {"id 99"});
}

TEST_F(CompileEncoder, RefusesAnOutputItCannotWriteBeforeAnyWork) {
  test::write_tiny_bert(directory_);
  CompileOptions options;
  std::size_t steps = 0;
  options.progress = [&](std::size_t, std::size_t, const std::string&) { ++steps; };
  out_ = other_.file("missing/model.qeff");
  EXPECT_THROW(compile("{}", {}, options), IoError);
  out_ = directory_.file("model.safetensors");
  EXPECT_THROW(compile("{}", {}, options), InvalidArgument);
  EXPECT_EQ(steps, 0u);
}

TEST_F(CompileEncoder, AnExceptionOfTheProgressStopsTheWorkAndLeavesNothing) {
  test::write_tiny_bert(directory_);
  CompileOptions options;
  options.progress = [](std::size_t done, std::size_t total, const std::string&) {
    EXPECT_EQ(total, 4 * test::kLayers + 2);
    if (done == 5) throw std::runtime_error("stop");
  };
  test::expect_message<std::runtime_error>([&] { compile("{}", {}, options); }, {"stop"});
  EXPECT_TRUE(std::filesystem::is_empty(other_.string()));
}

TEST_F(CompileEncoder, ReadsPoolingNormalizationAndLengthFromTheModelsFiles) {
  test::write_tiny_bert(directory_);
  std::filesystem::create_directories(directory_.file("1_Pooling"));
  test::write_text(directory_.file("1_Pooling/config.json"),
                   R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false})");
  test::write_text(directory_.file("modules.json"),
                   R"([{"type": "sentence_transformers.models.Transformer"}])");
  test::write_text(directory_.file("sentence_bert_config.json"), R"({"max_seq_length": 24})");
  compile();
  const Encoder encoder = load(out_, 1);
  EXPECT_EQ(encoder.pooling(), Pooling::cls);
  EXPECT_FALSE(encoder.normalize());
  EXPECT_EQ(encoder.max_tokens(), 24u);
  EXPECT_EQ(encoder.max_positions(), 40u);
}

TEST_F(CompileEncoder, AnUnknownModelTypeIsUnsupportedWithTheReason) {
  test::write_tiny_bert(directory_);
  test::write_text(directory_.file("config.json"), R"({"model_type": "electra"})");
  test::expect_message<Unsupported>([&] { compile(); },
                                    {"model_type \"electra\" has no native description"});
}

}  // namespace
}  // namespace qeff
