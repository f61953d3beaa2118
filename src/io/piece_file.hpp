/// @file
/// The vocabulary beside a llama2.c file: pieces with scores, as SentencePiece makes them.
///
///     tokenizer.bin of llama2.c    int32 longest piece | per piece: float32 score, int32 bytes,
///     bytes
///                                  with " " for U+2581 and line ends around <s> and </s>
///     SentencePiece .model         protobuf; field 1, again and again: piece (1), score (2), type
///     (3)
///
/// Ids 0, 1 and 2 are <unk>, <s> and </s>. Sources: tokenizer.py of karpathy/llama2.c,
/// sentencepiece_model.proto of google/sentencepiece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "qeff/io/gguf.hpp"

namespace qeff {

class PieceFile {
 public:
  /// The one in the folder of a model, or null if there is none.
  /// @throws IoError; FormatError if it does not have `count` pieces, or breaks its rules.
  [[nodiscard]] static std::shared_ptr<const PieceFile> beside(const std::string& model,
                                                               std::size_t count);
  /// @throws as beside()
  PieceFile(const std::string& path, std::size_t count);

  /// Texts of the files of a Hugging Face directory.
  [[nodiscard]] std::string tokenizer() const;
  [[nodiscard]] std::string config() const;
  [[nodiscard]] std::string generation() const;

 private:
  void read_llama2c(std::span<const std::byte> bytes, std::size_t count);
  void read_sentencepiece(std::span<const std::byte> bytes);
  void read_piece(std::span<const std::byte> message);
  void make_table();

  std::string path_;
  std::vector<std::string> texts_;
  std::vector<float> scores_;
  std::vector<std::int32_t> kinds_;
  GgufTable table_;  ///< The same as a GGUF file says it; views of the above.
};

}  // namespace qeff
