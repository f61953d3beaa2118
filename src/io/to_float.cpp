#include <cstdint>
#include <cstring>

#include "io/check_finite.hpp"
#include "qeff/core/error.hpp"
#include "qeff/core/minifloat.hpp"
#include "qeff/io/checkpoint.hpp"

namespace qeff {
namespace {

template <class T>
T load(const TensorView& tensor, std::size_t i) noexcept {
  T value;  // unaligned
  std::memcpy(&value, tensor.data + i * sizeof(T), sizeof(T));
  return value;
}

float element(const TensorView& tensor, std::size_t i) noexcept {
  switch (tensor.dtype) {
    case DType::f32:
      return load<float>(tensor, i);
    case DType::f64:
      return static_cast<float>(load<double>(tensor, i));
    case DType::bf16:
      return qeff::to_float<BF16>(load<std::uint16_t>(tensor, i));
    case DType::f16:
      return qeff::to_float<F16>(load<std::uint16_t>(tensor, i));
    case DType::e4m3:
      return qeff::to_float<E4M3>(load<std::uint8_t>(tensor, i));
    case DType::e5m2:
      return qeff::to_float<E5M2>(load<std::uint8_t>(tensor, i));
    case DType::e8m0:
      return qeff::to_float<E8M0>(load<std::uint8_t>(tensor, i));
    default:
      return qeff::to_float<E2M1>(
          static_cast<std::uint8_t>(load<std::uint8_t>(tensor, i / 2) >> (i % 2 * 4) & 0xF));
  }
}

}  // namespace

std::vector<float> to_float(const TensorView& tensor, std::string_view name,
                            std::string_view file) {
  if (!info(tensor.dtype).is_float)
    throw Unsupported(str(file, ": tensor '", name, "' is ", info(tensor.dtype).name,
                          ", a float type is needed"));
  std::vector<float> values(tensor.elements());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = element(tensor, i);
  check_finite(values, name, tensor.shape_string(), file);
  return values;
}

}  // namespace qeff
