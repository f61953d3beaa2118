// encode_loop MODEL.qeff TEXTS BATCH SECONDS [THREADS]: encodes the lines of a file, BATCH at a time, over and over.
// For profilers: see profile_program.py.

#include <qeff/qeff.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <span>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  try {
    if (argc < 5) throw qeff::InvalidArgument("usage: encode_loop MODEL.qeff TEXTS BATCH SECONDS [THREADS]");
    const qeff::Encoder encoder = qeff::load(argv[1], argc > 5 ? std::strtoul(argv[5], nullptr, 10) : 0);
    std::vector<std::string> texts;
    std::ifstream file(argv[2]);
    for (std::string line; std::getline(file, line);)
      if (!line.empty()) texts.push_back(line);
    const std::size_t batch = std::strtoul(argv[3], nullptr, 10);
    if (batch == 0 || texts.size() < batch) throw qeff::InvalidArgument(std::string(argv[2]) + ": fewer lines than a batch");

    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    const std::chrono::duration<double> wanted(std::strtod(argv[4], nullptr));
    std::size_t done = 0;
    while (Clock::now() - start < wanted) {
      for (std::size_t i = 0; i + batch <= texts.size(); i += batch, done += batch)
        (void)encoder.encode(std::span(texts).subspan(i, batch));
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    std::printf("%.1f texts/s\n", static_cast<double>(done) / seconds);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "encode_loop: %s\n", error.what());
    return 1;
  }
}
