#include "nn/encoder_artifact.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "nn/expect_message.hpp"
#include "nn/tiny_bert.hpp"
#include "qeff/core/error.hpp"
#include "qeff/nn/compile_encoder.hpp"
#include "qeff/nn/encoder.hpp"

namespace qeff {
namespace {

using Json = nlohmann::json;

/// A valid artifact, rewritten with one thing spoiled: its checksums are right, its content is not.
class SpoiledArtifact : public ::testing::Test {
 protected:
  void SetUp() override {
    test::write_tiny_bert(directory_);
    compile_encoder(*Checkpoint::open(directory_.string()), {}, {}, {}, good_);
  }

  void expect_refused(const std::function<void(Json&)>& change, const std::string& without,
                      std::initializer_list<std::string_view> parts) {
    const auto artifact = Artifact::open(good_);
    Json metadata = Json::parse(artifact->metadata());
    if (change) change(metadata);
    ArtifactWriter writer(metadata.dump());
    for (const auto& entry : artifact->entries())
      if (entry.name != without)
        writer.add(entry.name, entry.tensor.dtype, entry.tensor.shape,
                   {entry.tensor.data, entry.tensor.nbytes});
    writer.write(bad_);
    test::expect_message<FormatError>([&] { (void)load(bad_, 1); }, parts);
  }

 private:
  test::TemporaryDirectory directory_;
  std::string good_ = directory_.file("good.qeff"), bad_ = directory_.file("bad.qeff");
};

TEST_F(SpoiledArtifact, OfAnotherKindIsRefused) {
  expect_refused([](Json& m) { m["kind"] = "causal_lm"; }, "", {"bad.qeff", "kind \"causal_lm\""});
  expect_refused([](Json& m) { m.erase("kind"); }, "", {"has no \"kind\""});
}

TEST_F(SpoiledArtifact, WithAMissingEntryIsRefused) {
  expect_refused({}, "layers.1.ffn1.scales", {"layers.1.ffn1.scales"});
  expect_refused({}, "embeddings.norm.bias", {"embeddings.norm.bias"});
}

TEST_F(SpoiledArtifact, WithSizesThatAreNotThoseOfItsEntriesIsRefused) {
  expect_refused([](Json& m) { m["model"]["vocab"] = 51; }, "",
                 {"embeddings.words.codes", "1600", "1632"});
  expect_refused([](Json& m) { m["model"]["vocab"] = 2147483648; }, "", {"embeddings.words.codes"});
  expect_refused([](Json& m) { m["model"]["layers"] = 3; }, "",
                 {"\"linears\" has no \"layers.2.qkv\""});
  expect_refused([](Json& m) { m["linears"][0]["n"] = 95; }, "",
                 {"layers.0.qkv", "95 x 32", "96 x 32"});
  expect_refused([](Json& m) { m["max_tokens"] = 41; }, "", {"\"max_tokens\" is 41"});
}

TEST_F(SpoiledArtifact, ThatAsksForAKernelThereIsNotIsRefused) {
  expect_refused([](Json& m) { m["linears"][0]["activations"] = "f32"; }, "",
                 {"i8 weights", "with f32 activations"});
  expect_refused([](Json& m) { m["linears"][0]["group_size"] = 5; }, "", {"groups of 5"});
  expect_refused([](Json& m) { m["linears"][0]["group_size"] = 33; }, "",
                 {"groups of 33 in rows of 32"});
  expect_refused([](Json& m) { m["linears"][0]["format"] = "i3"; }, "", {"\"i3\""});
  expect_refused([](Json& m) { m["model"]["heads"] = 5; }, "", {"5 heads do not divide 32"});
  expect_refused([](Json& m) { m["model"]["heads"] = -4; }, "", {"\"heads\" is -4"});
}

}  // namespace
}  // namespace qeff
