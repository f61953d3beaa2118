/// @file
/// Finds stop strings in a text that arrives in pieces, wherever the pieces are cut.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace qeff {

class StopStrings {
 public:
  explicit StopStrings(std::span<const std::string> strings) : strings_(strings) {
    for (const std::string& s : strings) longest_ = std::max(longest_, s.size());
    tail_.reserve(longest_ + 256);
  }

  void restart() noexcept { tail_.clear(); }

  /// Whether the text with this piece holds a stop string that it did not hold before.
  [[nodiscard]] bool ends_with(std::string_view piece) {
    if (strings_.empty()) return false;
    if (tail_.size() >= longest_) tail_.erase(0, tail_.size() - (longest_ - 1));
    tail_ += piece;
    return std::any_of(strings_.begin(), strings_.end(),
                       [&](const std::string& s) { return tail_.find(s) != std::string::npos; });
  }

 private:
  std::span<const std::string> strings_;
  std::size_t longest_ = 0;
  std::string tail_;  ///< The end of the text, where a stop string may have begun.
};

}  // namespace qeff
