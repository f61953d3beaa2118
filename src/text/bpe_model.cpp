#include "text/bpe_model.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "text/unicode.hpp"

namespace qeff {
namespace {

constexpr std::uint64_t kEmpty = ~std::uint64_t{0};  // no pair of ids has it: they are not negative

std::uint64_t pair_key(std::int32_t left, std::int32_t right) noexcept {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

/// A pair that can be merged. Sorted by rank, then from left to right.
struct Candidate {
  std::uint32_t rank;
  std::int32_t at;  ///< Index of its left symbol.
  std::int32_t id;  ///< What it becomes; the pair may have changed since.

  /// As a heap's order: the best is the largest.
  friend bool operator<(const Candidate& a, const Candidate& b) noexcept {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  }
};

}  // namespace

MergeTable::MergeTable(std::size_t count)
    : entries_(std::bit_ceil(2 * count + 2), Entry{kEmpty, {}}),
      shift_(64u - static_cast<unsigned>(std::countr_zero(entries_.size()))) {}

std::size_t MergeTable::slot(std::uint64_t key) const noexcept {
  std::size_t at = (key * 0x9E3779B97F4A7C15u) >> shift_;
  while (entries_[at].key != key && entries_[at].key != kEmpty)
    at = (at + 1) & (entries_.size() - 1);
  return at;
}

void MergeTable::insert(std::int32_t left, std::int32_t right, Merge merge) {
  const std::uint64_t key = pair_key(left, right);
  entries_[slot(key)] = {key, merge};
}

const MergeTable::Merge* MergeTable::find(std::int32_t left, std::int32_t right) const noexcept {
  const std::uint64_t key = pair_key(left, right);
  if (key == kEmpty) return nullptr;
  const Entry& entry = entries_[slot(key)];
  return entry.key == key ? &entry.merge : nullptr;
}

void BpeModel::encode(std::string_view piece, std::vector<std::int32_t>& ids) const {
  if (ignore_merges_)
    if (const auto whole = vocabulary_.find(piece)) return ids.push_back(*whole);
  std::vector<Symbol> symbols = symbols_of(piece);
  if (symbols.empty()) return;
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = static_cast<std::int32_t>(i) - 1;
    symbols[i].next = i + 1 < symbols.size() ? static_cast<std::int32_t>(i + 1) : kNoId;
  }
  merge_all(symbols);
  for (std::int32_t i = 0; i != kNoId; i = symbols[static_cast<std::size_t>(i)].next)
    ids.push_back(symbols[static_cast<std::size_t>(i)].id);
}

std::vector<BpeModel::Symbol> BpeModel::symbols_of(std::string_view piece) const {
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  bool unknown_waits = false;  // the reference writes it before the next known character
  for (std::size_t at = 0; at < piece.size();) {
    const std::size_t begin = at;
    do ++at;
    while (at < piece.size() && continues(piece[at]));
    const std::string_view character = piece.substr(begin, at - begin);
    if (const auto id = vocabulary_.find(character)) {
      if (unknown_waits) symbols.push_back({unknown_, 0, 0});
      unknown_waits = false;
      symbols.push_back({*id, 0, 0});
    } else if (!add_bytes(character, symbols) && unknown_ != kNoId) {
      if (unknown_waits && !fuse_unknown_) symbols.push_back({unknown_, 0, 0});
      unknown_waits = true;
    }
  }
  if (unknown_waits) symbols.push_back({unknown_, 0, 0});
  return symbols;
}

bool BpeModel::add_bytes(std::string_view character, std::vector<Symbol>& symbols) const {
  const auto id = [this](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
  if (!byte_fallback_ ||
      std::any_of(character.begin(), character.end(), [&](char c) { return id(c) == kNoId; }))
    return false;
  for (const char c : character) symbols.push_back({id(c), 0, 0});
  return true;
}

void BpeModel::merge_all(std::vector<Symbol>& symbols) const {
  std::vector<Candidate> queue;
  queue.reserve(symbols.size());
  const auto symbol = [&](std::int32_t i) -> Symbol& {
    return symbols[static_cast<std::size_t>(i)];
  };
  const auto offer = [&](std::int32_t at, bool sorted) {
    if (at == kNoId || symbol(at).next == kNoId) return;
    const MergeTable::Merge* merge = merges_.find(symbol(at).id, symbol(symbol(at).next).id);
    if (merge == nullptr) return;
    queue.push_back({merge->rank, at, merge->id});
    if (sorted) std::push_heap(queue.begin(), queue.end());
  };
  for (std::size_t i = 0; i < symbols.size(); ++i) offer(static_cast<std::int32_t>(i), false);
  std::make_heap(queue.begin(), queue.end());
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end());
    const Candidate best = queue.back();
    queue.pop_back();
    Symbol& left = symbol(best.at);
    if (left.id == kNoId || left.next == kNoId) continue;
    Symbol& right = symbol(left.next);
    const MergeTable::Merge* merge = merges_.find(left.id, right.id);
    if (merge == nullptr || merge->id != best.id) continue;
    left.id = best.id;
    right.id = kNoId;
    left.next = right.next;
    if (left.next != kNoId) symbol(left.next).previous = best.at;
    offer(left.previous, true);
    offer(best.at, true);
  }
}

}  // namespace qeff
