/// @file
/// Byte pair encoding of one piece: its characters, then again and again the pair of neighbours
/// whose merge was learned first, the leftmost of equal ones.
///
/// A queue of pairs and a linked list of symbols: O(n log n) however long the piece is.
/// Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "text/token_trie.hpp"
#include "text/tokenizer_json.hpp"

namespace qeff {

/// (left id, right id) → rank and the id of both together; open addressing.
class MergeTable {
 public:
  struct Merge {
    std::uint32_t rank;
    std::int32_t id;
  };
  explicit MergeTable(std::size_t count = 0);
  /// A later merge of the same pair replaces the earlier one.
  void insert(std::int32_t left, std::int32_t right, Merge merge);
  [[nodiscard]] const Merge* find(std::int32_t left, std::int32_t right) const noexcept;

 private:
  struct Entry {
    std::uint64_t key;
    Merge merge;
  };
  [[nodiscard]] std::size_t slot(std::uint64_t key) const noexcept;

  std::vector<Entry> entries_;
  unsigned shift_ = 0;
};

class BpeModel {
 public:
  using Vocabulary = std::vector<std::pair<std::string_view, std::int32_t>>;
  static constexpr std::int32_t kNoId = -1;

  BpeModel() = default;
  /// The "model" of the document. @throws FormatError; Unsupported naming the option.
  [[nodiscard]] static BpeModel from_json(const tokenizer_json::Json& model,
                                          const Vocabulary& vocabulary);

  [[nodiscard]] std::optional<std::int32_t> find(std::string_view token) const noexcept {
    return vocabulary_.find(token);
  }
  /// Whether no merge puts ▁ behind another character: then every word, with the ▁ before it, can
  /// be encoded for itself.
  [[nodiscard]] bool words_apart() const noexcept { return words_apart_; }
  static constexpr std::string_view kWordMark = "\xE2\x96\x81";
  /// Appends the ids of `piece`. @pre piece is UTF-8
  void encode(std::string_view piece, std::vector<std::int32_t>& ids) const;

 private:
  struct Symbol {
    std::int32_t id;
    std::int32_t previous, next;  ///< kNoId: none
  };
  [[nodiscard]] std::vector<Symbol> symbols_of(std::string_view piece) const;
  [[nodiscard]] bool add_bytes(std::string_view character, std::vector<Symbol>& symbols) const;
  void merge_all(std::vector<Symbol>& symbols) const;

  TokenTrie vocabulary_;
  MergeTable merges_;
  std::array<std::int32_t, 256> byte_ids_{};  ///< Of <0x00> … <0xFF>; kNoId.
  std::int32_t unknown_ = kNoId;
  bool ignore_merges_ = false, byte_fallback_ = false, fuse_unknown_ = false;
  bool words_apart_ = false;
};

}  // namespace qeff
