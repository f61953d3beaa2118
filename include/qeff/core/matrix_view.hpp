/// @file
/// A borrowed matrix with any strides: the argument type of public functions on matrices.
#pragma once

#include <cstddef>
#include <type_traits>

namespace qeff {

/// Non-owning, shape (rows, cols); strides in elements, negative allowed. The memory must outlive it.
template <class T>
struct MatrixView {
  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::ptrdiff_t row_stride = static_cast<std::ptrdiff_t>(cols);
  std::ptrdiff_t col_stride = 1;

  [[nodiscard]] constexpr T& operator()(std::size_t r, std::size_t c) const noexcept {
    return data[static_cast<std::ptrdiff_t>(r) * row_stride +
                static_cast<std::ptrdiff_t>(c) * col_stride];
  }
  [[nodiscard]] constexpr T* row(std::size_t r) const noexcept {
    return data + static_cast<std::ptrdiff_t>(r) * row_stride;
  }
  [[nodiscard]] constexpr bool contiguous_rows() const noexcept { return col_stride == 1; }

  /// A view of T converts to a view of const T.
  constexpr operator MatrixView<const T>() const noexcept
    requires(!std::is_const_v<T>)
  {
    return {data, rows, cols, row_stride, col_stride};
  }
};

}  // namespace qeff
