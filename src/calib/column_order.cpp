#include "calib/column_order.hpp"

#include <algorithm>
#include <numeric>

namespace qeff::calib {
namespace {

void sort_falling(std::span<std::size_t> indices, std::span<const double> importance) {
  std::stable_sort(indices.begin(), indices.end(),
                   [&](std::size_t a, std::size_t b) { return importance[a] > importance[b]; });
}

std::vector<std::size_t> iota(std::size_t count) {
  std::vector<std::size_t> out(count);
  std::iota(out.begin(), out.end(), std::size_t{0});
  return out;
}

/// The largest importance in each group.
std::vector<double> group_importance(std::span<const double> importance, std::size_t group_size) {
  std::vector<double> out((importance.size() + group_size - 1) / group_size);
  for (std::size_t c = 0; c < importance.size(); ++c)
    out[c / group_size] = std::max(out[c / group_size], importance[c]);
  return out;
}

}  // namespace

ColumnOrder column_order(std::span<const double> importance, std::size_t group_size, bool desc_act,
                         bool group_aware) {
  const std::size_t k = importance.size();
  if (desc_act) {
    ColumnOrder order{iota(k), {}};
    sort_falling(order.columns, importance);
    return order;
  }
  const std::vector<double> of_groups = group_importance(importance, group_size);
  std::vector<std::size_t> groups = iota(of_groups.size());
  if (group_aware) sort_falling(groups, of_groups);

  ColumnOrder order;
  for (const std::size_t group : groups) {
    const std::size_t begin = order.columns.size();
    order.group_begins.push_back(begin);
    for (std::size_t c = group * group_size; c < std::min(k, (group + 1) * group_size); ++c)
      order.columns.push_back(c);
    if (group_aware) sort_falling(std::span(order.columns).subspan(begin), importance);
  }
  return order;
}

}  // namespace qeff::calib
