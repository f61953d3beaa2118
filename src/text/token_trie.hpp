/// @file
/// A set of byte strings with ids, for longest-prefix search: one step per byte, no allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace qeff {

/// Nodes in breadth-first order: the children of a node are neighbours, sorted by their byte, and
/// so are their bytes; the children of the root are found by table.
class TokenTrie {
 public:
  struct Match {
    std::size_t length = 0;  ///< 0: no match
    std::int32_t id = -1;
  };

  TokenTrie() : TokenTrie(std::vector<std::pair<std::string_view, std::int32_t>>{}) {}
  /// Of equal strings the last one wins; empty strings are ignored.
  explicit TokenTrie(std::vector<std::pair<std::string_view, std::int32_t>> tokens);

  /// The longest token that `text` begins with.
  [[nodiscard]] Match longest_prefix(std::string_view text) const noexcept;
  /// The token that `text` is.
  [[nodiscard]] std::optional<std::int32_t> find(std::string_view text) const noexcept;
  [[nodiscard]] bool empty() const noexcept { return nodes_.size() <= 1; }

 private:
  struct Node {
    std::uint32_t first_child = 0;
    std::uint32_t children = 0;
    std::int32_t id = -1;
  };
  /// The child of `node` along `byte`, 0 if there is none.
  [[nodiscard]] std::uint32_t child(std::uint32_t node, char byte) const noexcept;

  std::vector<Node> nodes_;
  std::vector<char> bytes_;  ///< Byte that leads into the node of the same index.
  std::array<std::uint32_t, 256> root_{};
};

}  // namespace qeff
