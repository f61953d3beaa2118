/// @file
/// A borrowed, contiguous, row-major tensor whose element type is known at run time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "qeff/core/dtype.hpp"

namespace qeff {

/// Non-owning and read-only; what files hand out. Not necessarily aligned to its element size.
struct TensorView {
  DType dtype = DType::f32;
  std::vector<std::size_t> shape;
  const std::byte* data = nullptr;
  std::size_t nbytes = 0;

  [[nodiscard]] std::size_t elements() const noexcept {
    std::size_t n = 1;
    for (const std::size_t d : shape) n *= d;
    return n;
  }
  [[nodiscard]] std::string shape_string() const {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i)
      text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
  }
};

}  // namespace qeff
