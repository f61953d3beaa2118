/// @file
/// One function per parser of untrusted bytes: it may throw qeff::Error, nothing else, and what it
/// hands out must be readable to the last byte.
#pragma once

#include <unistd.h>
#include <xxhash.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "io/json.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/artifact.hpp"
#include "qeff/io/checkpoint.hpp"
#include "qeff/io/gguf.hpp"
#include "qeff/io/safetensors.hpp"
#include "qeff/text/wordpiece.hpp"

namespace qeff::fuzz {

/// Sum of all bytes of a tensor, so that a sanitizer sees every one of them read.
inline unsigned touch(const TensorView& tensor) {
  unsigned sum = 0;
  for (std::size_t i = 0; i < tensor.nbytes; ++i) sum += std::to_integer<unsigned>(tensor.data[i]);
  return sum;
}

/// Whether the input was accepted.
template <class Parse>
bool accepts(Parse parse) {
  try {
    parse();
    return true;
  } catch (const Error&) {
    return false;
  }
}

inline bool safetensors(std::string_view bytes) {
  return accepts([&] {
    const SafetensorsTable table = parse_safetensors(std::as_bytes(std::span(bytes)), "fuzz");
    for (const NamedTensor& named : table.tensors)
      if (touch(named.tensor) > 0 && named.tensor.elements() == 0)
        throw std::logic_error("bytes without elements");
  });
}

inline bool json(std::string_view bytes) {
  return accepts([&] { (void)parse_json(bytes, "fuzz", {1 << 16, 16}).dump(); });
}

/// A file of its own for bytes that only a path opens.
class FuzzFile {
 public:
  explicit FuzzFile(std::string_view bytes) { std::ofstream(path(), std::ios::binary) << bytes; }
  FuzzFile(const FuzzFile&) = delete;
  FuzzFile& operator=(const FuzzFile&) = delete;
  ~FuzzFile() { std::filesystem::remove(path()); }
  [[nodiscard]] static const std::string& path() {
    static const std::string path = (std::filesystem::temp_directory_path() /
                                     ("qeff-fuzz-" + std::to_string(::getpid()) + ".file"))
                                        .string();
    return path;
  }
};

/// The checksum of the header is made right first: no mutation gets past it otherwise.
inline bool artifact(std::string bytes) {
  std::uint64_t size = 0;
  if (bytes.size() >= 64) {
    std::memcpy(&size, bytes.data() + 16, 8);
    if (size <= bytes.size() - 64) {
      const std::uint64_t hash = XXH3_64bits(bytes.data() + 64, size);
      std::memcpy(bytes.data() + 24, &hash, 8);
    }
  }
  const FuzzFile file(bytes);
  return accepts([] {
    const auto opened = Artifact::open(FuzzFile::path(), false);
    for (const auto& entry : opened->entries()) (void)touch(entry.tensor);
  });
}

/// The parser alone, and if it accepts, everything a GGUF or llama2.c model makes of the bytes.
inline bool model_file(std::string_view bytes) {
  const bool parsed = accepts([&] {
    const GgufTable table = parse_gguf(std::as_bytes(std::span(bytes)), "fuzz");
    for (const GgufTensor& tensor : table.tensors)
      (void)touch({DType::u8, {}, tensor.data.data(), tensor.data.size()});
  });
  if (!parsed && is_gguf(std::as_bytes(std::span(bytes)))) return false;
  const FuzzFile file(bytes);
  return accepts([] {
    const auto model = Checkpoint::open(FuzzFile::path());
    (void)parse_json(model->config(), "fuzz");
    for (const std::string& name : model->names())
      (void)accepts([&] { (void)model->floats(name); });
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"})
      (void)accepts([&] { (void)model->read_text(name); });
  });
}

/// Any bytes as a text, and as both kinds of vocabulary.
inline bool wordpiece(std::string_view bytes) {
  static const WordPiece tokenizer =
      WordPiece::from_vocab("[UNK]\n[CLS]\n[SEP]\na\n##b\n##\xCC\x81\n日\n");
  for (const std::int32_t id : tokenizer.encode(bytes, 1 << 20))
    if (id < 0 || id >= 7) throw std::logic_error("an id outside the vocabulary");
  const bool vocabulary = accepts([&] { (void)WordPiece::from_vocab(bytes).encode(bytes, 64); });
  return accepts([&] { (void)WordPiece::from_tokenizer_json(bytes).encode(bytes, 64); }) ||
         vocabulary;
}

}  // namespace qeff::fuzz
