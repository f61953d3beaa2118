// embed_ids MODEL.qeff IDS.txt OUT.f32: embeds token ids, one sequence a line, and writes the raw
// floats (sequences, hidden). Compares machines, instruction sets and thread counts: the ISA is
// chosen with QEFF_MAX_ISA, the threads with QEFF_NUM_THREADS, and no tokenizer is involved.

#include <qeff/qeff.hpp>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <ios>
#include <sstream>
#include <string>
#include <vector>

namespace {

qeff::TokenBatch read_ids(const std::string& path) {
  std::ifstream file(path);
  qeff::require(file.is_open(), path, ": cannot be read");
  qeff::TokenBatch batch;
  batch.offsets.push_back(0);
  for (std::string line; std::getline(file, line);) {
    std::istringstream ids(line);
    for (std::int32_t id = 0; ids >> id;) batch.ids.push_back(id);
    batch.offsets.push_back(batch.ids.size());
  }
  return batch;
}

void write_floats(const std::string& path, const std::vector<float>& values) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(float)));
  qeff::require(file.good(), path, ": cannot be written");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: embed_ids MODEL.qeff IDS.txt OUT.f32\n");
    return 2;
  }
  try {
    const qeff::Encoder encoder = qeff::load(argv[1]);
    const qeff::TokenBatch batch = read_ids(argv[2]);
    std::vector<float> embeddings(batch.sequences() * encoder.hidden_size());
    encoder.embed(batch, encoder.pooling(), encoder.normalize(), embeddings);
    write_floats(argv[3], embeddings);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "embed_ids: %s\n", error.what());
    return 1;
  }
  return 0;
}
