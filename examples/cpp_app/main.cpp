// cpp_app MODEL.qeff [SENTENCE...]: embeds sentences and prints the cosine similarity of every pair.

#include <qeff/qeff.hpp>

#include <cmath>
#include <cstdio>
#include <exception>
#include <span>
#include <string>
#include <vector>

namespace {

const std::vector<std::string> default_sentences = {
    "A man is playing a guitar.",
    "Someone plays a musical instrument.",
    "The stock market fell sharply on Monday.",
};

double cosine(std::span<const float> a, std::span<const float> b) {
  double ab = 0.0;
  double aa = 0.0;
  double bb = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += double{a[i]} * double{b[i]};
    aa += double{a[i]} * double{a[i]};
    bb += double{b[i]} * double{b[i]};
  }
  return ab / std::sqrt(aa * bb);
}

void print_similarities(const qeff::Encoder& encoder, const std::vector<std::string>& sentences) {
  const std::vector<float> embeddings = encoder.encode(sentences);
  const std::size_t width = encoder.hidden_size();
  const auto row = [&](std::size_t i) { return std::span(embeddings).subspan(i * width, width); };
  for (std::size_t i = 0; i < sentences.size(); ++i) {
    for (std::size_t j = i + 1; j < sentences.size(); ++j) {
      std::printf("%.6f  \"%s\" | \"%s\"\n", cosine(row(i), row(j)), sentences[i].c_str(), sentences[j].c_str());
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: cpp_app MODEL.qeff [SENTENCE...]\n");
    return 2;
  }
  try {
    const qeff::Encoder encoder = qeff::load(argv[1]);
    std::vector<std::string> sentences(argv + 2, argv + argc);
    print_similarities(encoder, sentences.empty() ? default_sentences : sentences);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cpp_app: %s\n", error.what());
    return 1;
  }
  return 0;
}
