// Compiles of language models that are killed, and go on.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "qeff/core/error.hpp"
#include "qeff/nn/compile_causal_lm.hpp"
#include "tiny_bert.hpp"
#include "tiny_decoder.hpp"

namespace qeff {
namespace {

namespace fs = std::filesystem;
using test::TemporaryDirectory;

const char* const kGptq = R"({"method": "gptq", "group_size": 32, "activations": "int8", "range_grid": 4})";

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A model, a recipe and an output.
struct Job {
  TemporaryDirectory directory;
  std::shared_ptr<const Checkpoint> model;
  QuantizationConfig config;
  TokenBatch tokens = test::tiny_decoder_tokens();
  std::vector<std::string> notes, steps;
  std::string out = directory.file("out.qeff"), partial = out + ".partial";

  explicit Job(const std::string& recipe)
      : model(Checkpoint::open(test::write_tiny_decoder(directory.file("model.bin")))),
        config(quantization_config_from_json(recipe)) {}

  std::vector<LayerReport> run(const std::string& path, bool resume = true, const std::string& stop_at = "") {
    notes.clear();
    steps.clear();
    CompileOptions options;
    options.threads = 1;
    options.resume = resume;
    options.note = [this](const std::string& what) { notes.push_back(what); };
    options.progress = [&](std::size_t, std::size_t, const std::string& what) {
      steps.push_back(what);
      if (what == stop_at) throw std::runtime_error("stopped");
    };
    return compile_causal_lm(*model, config, tokens, options, path);
  }
  /// A run that ends before layer 3.
  void stop() { EXPECT_THROW(run(out, true, "layers.3.qkv"), std::runtime_error); }
  std::string whole() {
    run(directory.file("whole.qeff"), false);
    return bytes_of(directory.file("whole.qeff"));
  }
  [[nodiscard]] bool did(const std::string& step) const { return std::ranges::count(steps, step) > 0; }
};

/// Runs the job in a child that is killed after so many microseconds. @return whether it was killed
bool killed(Job& job, std::int64_t microseconds) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      job.run(job.out);
    } catch (...) {
      ::_exit(2);
    }
    ::_exit(0);
  }
  ::usleep(static_cast<useconds_t>(microseconds));
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  return WIFSIGNALED(status);
}

class Resume : public testing::TestWithParam<const char*> {};

TEST_P(Resume, AfterKillsAtTenRandomMomentsGivesTheSameBytes) {
  Job job(GetParam());
  const auto start = std::chrono::steady_clock::now();
  const std::string whole = job.whole();
  const auto spent = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
  std::mt19937 random(3);
  for (int kills = 0, runs = 0; kills < 10 && runs < 100; ++runs) {
    kills += killed(job, static_cast<std::int64_t>(random()) % std::max<std::int64_t>(spent.count() / 2, 1));
    if (!fs::exists(job.out)) continue;
    EXPECT_EQ(bytes_of(job.out), whole);
    fs::remove(job.out);
  }
  job.run(job.out);
  EXPECT_EQ(bytes_of(job.out), whole);
  EXPECT_FALSE(fs::exists(job.partial));
}

INSTANTIATE_TEST_SUITE_P(Recipes, Resume,
                         testing::Values(kGptq, R"({"method": "affine", "bits": 8})",
                                         R"({"method": "awq", "group_size": 32, "scale_grid": 4, "clip_grid": 2})",
                                         R"({"method": "gptq", "target_bits": 5.5, "activations": "int8", "range_grid": 4})",
                                         R"({"method": "autoround", "bits": 4, "group_size": 32, "iters": 3, "batch_size": 2})"));

TEST(Resume, GoesOnAfterTheLastFinishedLayer) {
  for (const char* recipe : {kGptq, R"({"method": "gptq", "group_size": 32, "propagate": false, "range_grid": 4})",
                             R"({"method": "affine", "bits": 8, "activations": "int8"})"}) {
    Job job(recipe);
    const std::string whole = job.whole();
    const auto rows = job.run(job.directory.file("again.qeff")).size();
    job.stop();
    EXPECT_FALSE(fs::exists(job.out));
    EXPECT_EQ(job.run(job.out).size(), rows);
    EXPECT_TRUE(job.did("layer 3 of 6, resumed"));
    EXPECT_FALSE(job.did("layers.2.down"));
    EXPECT_TRUE(job.did("layers.3.qkv"));
    EXPECT_EQ(bytes_of(job.out), whole);
    EXPECT_FALSE(fs::exists(job.partial));
  }
}

TEST(Resume, TakesOverReportsAndPlan) {
  Job job(R"({"method": "affine", "target_bits": 5.5, "symmetric": false})");
  const auto rows = job.run(job.directory.file("whole.qeff"));
  job.stop();
  const auto resumed = job.run(job.out);
  EXPECT_FALSE(job.did("sensitivity of layer 0"));
  ASSERT_EQ(resumed.size(), rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(resumed[i].name, rows[i].name);
    EXPECT_EQ(resumed[i].scheme, rows[i].scheme);
    EXPECT_EQ(resumed[i].bits, rows[i].bits);
    EXPECT_EQ(resumed[i].sqnr_db, rows[i].sqnr_db);
    EXPECT_EQ(resumed[i].hessian_loss, rows[i].hessian_loss);
    EXPECT_EQ(resumed[i].sensitivity, rows[i].sensitivity);
  }
}

TEST(Resume, StateOfAnotherCompileIsRemovedWithANote) {
  for (const bool other_tokens : {false, true}) {
    Job job(kGptq);
    job.stop();
    if (other_tokens)
      job.tokens = test::tiny_decoder_tokens(6);
    else
      job.config.gptq.damp_percent = 0.02;
    const std::string whole = job.whole();
    job.run(job.out);
    ASSERT_EQ(job.notes.size(), 1u);
    EXPECT_NE(job.notes[0].find("another compile"), std::string::npos);
    EXPECT_TRUE(job.did("layers.0.qkv"));
    EXPECT_EQ(bytes_of(job.out), whole);
  }
}

TEST(Resume, StateOfAChangedCheckpointIsNotUsed) {
  Job job(kGptq);
  job.stop();
  fs::last_write_time(job.directory.file("model.bin"), fs::file_time_type::clock::now() + std::chrono::seconds(5));
  job.run(job.out);
  EXPECT_TRUE(job.did("layers.0.qkv"));
}

TEST(Resume, DamagedFilesAreNotUsed) {
  for (const char* file : {"stream.qeff", "layer-1.qeff"}) {
    Job job(kGptq);
    const std::string whole = job.whole();
    job.stop();
    const std::string path = job.partial + "/" + file;
    std::string bytes = bytes_of(path);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    std::ofstream(path, std::ios::binary) << bytes;
    job.run(job.out);
    EXPECT_FALSE(job.notes.empty());
    EXPECT_TRUE(job.did("layers.1.qkv"));
    EXPECT_EQ(bytes_of(job.out), whole);
  }
}

TEST(Resume, CanBeTurnedOff) {
  Job job(kGptq);
  EXPECT_THROW(job.run(job.out, false, "layers.3.qkv"), std::runtime_error);
  EXPECT_FALSE(fs::exists(job.partial));
  job.stop();
  job.run(job.out, false);
  EXPECT_TRUE(job.did("layers.0.qkv"));
}

TEST(Resume, ACompileThatCannotKeepItsStateSaysSoAndGoesOn) {
  Job job(kGptq);
  const std::string whole = job.whole();
  std::ofstream(job.partial) << "not a directory";
  job.run(job.out);
  ASSERT_EQ(job.notes.size(), 1u);
  EXPECT_NE(job.notes[0].find("cannot be kept"), std::string::npos);
  EXPECT_EQ(bytes_of(job.out), whole);
}

TEST(Resume, OtherFilesInTheDirectoryStay) {
  Job job(kGptq);
  fs::create_directory(job.partial);
  std::ofstream(job.partial + "/notes.txt") << "mine";
  std::ofstream(job.partial + "/.stream.qeff.tmp-1-2-3") << "left by a kill";
  job.run(job.out);
  EXPECT_EQ(bytes_of(job.partial + "/notes.txt"), "mine");
  EXPECT_FALSE(fs::exists(job.partial + "/.stream.qeff.tmp-1-2-3"));
}

}  // namespace
}  // namespace qeff
