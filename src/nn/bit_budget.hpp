/// @file
/// The best choice for each of several items under a common budget (multiple-choice knapsack):
///
///     minimize sum loss[i][c_i]   subject to   sum bytes[i][c_i] <= budget
///
/// Solved exactly by dynamic programming over the bytes above the least, in units of their greatest
/// common divisor; where that are more than 65536 units, costs are rounded up to larger ones. The
/// loss never grows with the budget.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace qeff::nn {

/// One item; the same number of choices in both.
struct BudgetItem {
  std::vector<std::size_t> bytes;
  std::vector<double> loss;
};

/// The choice of each item. @throws InvalidArgument if the least bytes of all are more than the budget.
[[nodiscard]] std::vector<std::size_t> choose_within(std::span<const BudgetItem> items, std::size_t budget);

}  // namespace qeff::nn
