#include "nn/bit_budget.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "qeff/core/error.hpp"

namespace qeff::nn {
namespace {

constexpr std::size_t kMostUnits = std::size_t{1} << 16;

std::size_t least(const BudgetItem& item) { return *std::ranges::min_element(item.bytes); }

/// Bytes of a unit. It does not depend on the budget: neither does the order of solutions.
std::size_t unit_bytes(std::span<const BudgetItem> items) {
  std::size_t divisor = 0, span = 0;
  for (const BudgetItem& item : items) {
    for (const std::size_t bytes : item.bytes) divisor = std::gcd(divisor, bytes - least(item));
    span += *std::ranges::max_element(item.bytes) - least(item);
  }
  return std::max({divisor, (span + kMostUnits - 1) / kMostUnits, std::size_t{1}});
}

}  // namespace

std::vector<std::size_t> choose_within(std::span<const BudgetItem> items, std::size_t budget) {
  std::size_t needed = 0, most = 0;
  for (const BudgetItem& item : items) {
    needed += least(item);
    most += *std::ranges::max_element(item.bytes);
  }
  require(needed <= budget, "a budget of ", budget, " bytes where ", needed, " are the least");
  const std::size_t unit = unit_bytes(items);
  // Rounding up adds less than a unit for each item.
  const std::size_t units = std::min(budget - needed, most - needed + items.size() * unit) / unit;
  const auto cost = [&](const BudgetItem& item, std::size_t c) { return (item.bytes[c] - least(item) + unit - 1) / unit; };

  std::vector<double> best(units + 1, 0.0), next(units + 1);  // least loss with at most so many units
  std::vector<std::vector<std::uint8_t>> picked;
  for (const BudgetItem& item : items) {
    auto& pick = picked.emplace_back(units + 1);
    std::ranges::fill(next, std::numeric_limits<double>::infinity());
    for (std::size_t c = 0; c < item.bytes.size(); ++c)
      for (std::size_t u = cost(item, c); u <= units; ++u)
        if (const double loss = best[u - cost(item, c)] + item.loss[c]; loss < next[u]) {
          next[u] = loss;
          pick[u] = static_cast<std::uint8_t>(c);
        }
    best.swap(next);
  }
  std::vector<std::size_t> choices(items.size());
  std::size_t u = units;
  for (std::size_t i = items.size(); i-- > 0;) {
    choices[i] = picked[i][u];
    u -= cost(items[i], choices[i]);
  }
  return choices;
}

}  // namespace qeff::nn
