#include "io/piece_file.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "io/byte_cursor.hpp"
#include "io/gguf_model.hpp"
#include "io/gguf_vocabulary.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/mapped_file.hpp"

namespace qeff {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581
constexpr std::size_t kUnknown = 0, kBegin = 1, kEnd = 2;

bool is_byte(std::string_view piece) {
  return piece.size() == 6 && piece.starts_with("<0x") && piece.ends_with('>');
}

TokenKind kind_of(std::size_t id, std::string_view piece) {
  if (id == kUnknown) return TokenKind::unknown;
  if (id == kBegin || id == kEnd) return TokenKind::control;
  return is_byte(piece) ? TokenKind::byte : TokenKind::normal;
}

/// A piece of tokenizer.bin as SentencePiece has it.
std::string sentencepiece_text(std::size_t id, std::string_view text) {
  if ((id == kBegin || id == kEnd) && text.size() > 2 && text.front() == '\n' &&
      text.back() == '\n')
    return std::string(text.substr(1, text.size() - 2));
  std::string piece;
  for (const char c : text) {
    if (c == ' ')
      piece += kSpace;
    else
      piece += c;
  }
  return piece;
}

std::uint64_t varint(ByteCursor& cursor) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const auto byte = cursor.number<std::uint8_t>("a number");
    value |= std::uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
  throw FormatError(cursor.file(), "a number has more than 64 bits", cursor.offset());
}

/// A field of a protobuf message: its number, and its bytes or its value.
struct Field {
  std::uint64_t number = 0, value = 0;
  std::span<const std::byte> bytes;
};

Field next_field(ByteCursor& cursor) {
  const std::uint64_t tag = varint(cursor);
  Field field;
  field.number = tag >> 3;
  switch (tag & 7) {
    case 0:
      field.value = varint(cursor);
      break;
    case 1:
      field.value = cursor.number<std::uint64_t>("a field");
      break;
    case 2:
      field.bytes = cursor.bytes(varint(cursor), "a field");
      break;
    case 5:
      field.value = cursor.number<std::uint32_t>("a field");
      break;
    default:
      throw FormatError(cursor.file(), "is no SentencePiece model", cursor.offset());
  }
  return field;
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Names in a folder, sorted; none if it cannot be read.
std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator(folder, code))
    names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

}  // namespace

std::shared_ptr<const PieceFile> PieceFile::beside(const std::string& model, std::size_t count) {
  const auto folder = std::filesystem::absolute(model).parent_path();
  const std::vector<std::string> names = names_in(folder);
  for (const std::string& stem : {str("tok", count, "."), std::string("tokenizer.")})
    for (const std::string_view extension : {".bin", ".model"})
      for (const std::string& name : names)
        if (name.starts_with(stem) && name.ends_with(extension))
          return std::make_shared<const PieceFile>((folder / name).string(), count);
  return nullptr;
}

PieceFile::PieceFile(const std::string& path, std::size_t count) : path_(path) {
  const MappedFile file = MappedFile::open(path);
  if (path.ends_with(".model"))
    read_sentencepiece(file.bytes());
  else
    read_llama2c(file.bytes(), count);
  if (texts_.size() != count)
    throw FormatError(path_, str("has ", texts_.size(), " pieces, the model ", count, " tokens"));
  make_table();
}

void PieceFile::read_llama2c(std::span<const std::byte> bytes, std::size_t count) {
  ByteCursor cursor(bytes, path_);
  (void)cursor.number<std::int32_t>("the longest piece");
  cursor.check_count(count, sizeof(float) + sizeof(std::int32_t), "the number of pieces", 0);
  for (std::size_t id = 0; id < count; ++id) {
    scores_.push_back(std::bit_cast<float>(cursor.number<std::uint32_t>("a score")));
    const std::size_t at = cursor.offset();
    const auto length = cursor.number<std::int32_t>("the length of a piece");
    if (length < 0) throw FormatError(path_, str("piece ", id, " has ", length, " bytes"), at);
    const auto text = as_text(cursor.bytes(static_cast<std::uint64_t>(length), "a piece"));
    texts_.push_back(sentencepiece_text(id, text));
    kinds_.push_back(static_cast<std::int32_t>(kind_of(id, texts_.back())));
  }
  if (cursor.remaining() != 0)
    throw FormatError(path_, str("has more than ", count, " pieces"), cursor.offset());
}

void PieceFile::read_sentencepiece(std::span<const std::byte> bytes) {
  ByteCursor cursor(bytes, path_);
  while (cursor.remaining() > 0)
    if (const Field field = next_field(cursor); field.number == 1) read_piece(field.bytes);
}

void PieceFile::read_piece(std::span<const std::byte> message) {
  ByteCursor cursor(message, path_);
  texts_.emplace_back();
  scores_.push_back(0);
  kinds_.push_back(static_cast<std::int32_t>(TokenKind::normal));
  while (cursor.remaining() > 0) {
    const Field field = next_field(cursor);
    if (field.number == 1) texts_.back() = as_text(field.bytes);
    if (field.number == 2)
      scores_.back() = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    if (field.number == 3)
      kinds_.back() = static_cast<std::int32_t>(std::min<std::uint64_t>(field.value, 6));
  }
}

void PieceFile::make_table() {
  if (texts_.size() <= kEnd) throw FormatError(path_, "has fewer than 3 pieces");
  if (!std::ranges::all_of(scores_, [](float score) { return std::isfinite(score); }))
    throw FormatError(path_, "has a score that is not a number");
  table_.metadata = {
      {"tokenizer.ggml.model", std::string_view("llama")},
      {"tokenizer.ggml.tokens", std::vector<std::string_view>(texts_.begin(), texts_.end())},
      {"tokenizer.ggml.scores", GgufNumbers(GgufType::f32, std::as_bytes(std::span(scores_)))},
      {"tokenizer.ggml.token_type", GgufNumbers(GgufType::i32, std::as_bytes(std::span(kinds_)))},
      {"tokenizer.ggml.unknown_token_id", std::uint64_t{kUnknown}},
      {"tokenizer.ggml.bos_token_id", std::uint64_t{kBegin}},
      {"tokenizer.ggml.eos_token_id", std::uint64_t{kEnd}}};
}

std::string PieceFile::tokenizer() const { return gguf_tokenizer(table_, path_); }
std::string PieceFile::config() const { return gguf_tokenizer_config(table_, path_); }
std::string PieceFile::generation() const { return gguf_generation_config(table_, path_); }

}  // namespace qeff
