#include "io/close_names.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

namespace qeff {
namespace {

constexpr std::size_t kMaxCompared = 256;

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string close_names(std::string_view name, const std::vector<std::string_view>& names) {
  constexpr std::size_t kShown = 5;
  name = name.substr(0, kMaxCompared);
  std::vector<std::pair<std::size_t, std::string_view>> near;
  for (const std::string_view candidate : names) {
    const std::size_t distance = edit_distance(name, candidate.substr(0, kMaxCompared));
    if (2 * distance < name.size()) near.emplace_back(distance, candidate);
  }
  std::sort(near.begin(), near.end());
  std::string text;
  for (std::size_t i = 0; i < std::min(near.size(), kShown); ++i)
    text += (i == 0 ? " (close: '" : ", '") + std::string(near[i].second) + "'";
  return text.empty() ? text : text + ")";
}

}  // namespace qeff
