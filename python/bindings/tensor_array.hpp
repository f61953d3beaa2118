/// @file
/// Tensors of files as numpy arrays and back. Types numpy does not have travel as unsigned integers
/// of the same width; the dtype's name tells what they are.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <span>
#include <string>
#include <vector>

#include "qeff/core/dtype.hpp"
#include "qeff/core/error.hpp"
#include "qeff/core/tensor_view.hpp"

namespace qeff::python {

/// The numpy type that holds elements of `dtype`; two 4-bit elements share a byte.
inline pybind11::dtype numpy_dtype(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return pybind11::dtype("uint16");
    case DType::e4m3:
    case DType::e5m2:
    case DType::e8m0:
    case DType::e2m1:
    case DType::i4:
    case DType::u4:
      return pybind11::dtype("uint8");
    default:
      return pybind11::dtype(std::string(info(dtype).name));
  }
}

/// A read-only array on the tensor's own memory, which `owner` keeps alive. 4-bit tensors are flat.
inline pybind11::array borrow_array(const TensorView& tensor, pybind11::handle owner) {
  std::vector<pybind11::ssize_t> shape(tensor.shape.begin(), tensor.shape.end());
  if (info(tensor.dtype).bits < 8) shape = {static_cast<pybind11::ssize_t>(tensor.nbytes)};
  pybind11::array array(numpy_dtype(tensor.dtype), shape, tensor.data, owner);
  array.attr("setflags")(pybind11::arg("write") = false);
  return array;
}

/// A view of the array's memory under its own dtype (numpy's or ml_dtypes').
/// @throws InvalidArgument for other dtypes, byte orders and layouts.
inline TensorView view_array(const std::string& name, const pybind11::array& array) {
  const auto type = array.dtype();
  const std::string type_name = pybind11::str(type.attr("name"));
  const auto dtype = dtype_from_name(type_name);
  require(dtype && info(*dtype).bits >= 8, "tensor '", name, "': dtype ", type_name,
          " cannot be stored");
  require(type.byteorder() != '>', "tensor '", name,
          "' is big-endian; use .astype(dtype.newbyteorder('<'))");
  require((array.flags() & pybind11::array::c_style) != 0, "tensor '", name,
          "' is not C-contiguous; use numpy.ascontiguousarray");
  TensorView view{*dtype,
                  {},
                  static_cast<const std::byte*>(array.data()),
                  static_cast<std::size_t>(array.nbytes())};
  for (pybind11::ssize_t i = 0; i < array.ndim(); ++i)
    view.shape.push_back(static_cast<std::size_t>(array.shape(i)));
  return view;
}

}  // namespace qeff::python
