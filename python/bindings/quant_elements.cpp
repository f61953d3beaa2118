/// @file
/// Python face of what works on single elements: core/minifloat.hpp, quant/affine_grid.hpp and
/// format/bits.hpp. Checks of arrays, no arithmetic.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "names.hpp"
#include "qeff/core/error.hpp"
#include "qeff/core/minifloat.hpp"
#include "qeff/format/bits.hpp"
#include "qeff/quant/affine_grid.hpp"

namespace py = pybind11;

namespace qeff::python {

void bind_quant_elements(py::module_& m);

namespace {

using ByteArray = py::array_t<std::uint8_t, py::array::c_style>;

constexpr std::array<std::string_view, 3> kRoundings{"nearest", "up", "down"};
constexpr std::array<std::string_view, 8> kMinifloats{
    "float16",       "bfloat16",      "float8_e4m3fn", "float8_e5m2",
    "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn", "float8_e8m0fnu"};

/// A new array shaped like `in`, each element f(element of `in`), with the GIL released.
template <class Out, class In, class F>
py::array mapped(const py::array_t<In, py::array::c_style>& in, F&& f) {
  py::array_t<Out> out(std::vector<py::ssize_t>(in.shape(), in.shape() + in.ndim()));
  const In* from = in.data();
  Out* to = out.mutable_data();
  const auto count = in.size();
  {
    const py::gil_scoped_release no_gil;
    std::transform(from, from + count, to, f);
  }
  return out;
}

/// Calls work(format) with a value of the format type called `name`.
template <class Work>
py::array with_format(const std::string& name, Work&& work) {
  switch (place(kMinifloats, name, "format")) {
    case 0:
      return work(F16{});
    case 1:
      return work(BF16{});
    case 2:
      return work(E4M3{});
    case 3:
      return work(E5M2{});
    case 4:
      return work(E2M3{});
    case 5:
      return work(E3M2{});
    case 6:
      return work(E2M1{});
    default:
      return work(E8M0{});
  }
}

using DenseFloats = py::array_t<float, py::array::c_style>;

py::array to_minifloat(const DenseFloats& x, const std::string& name, bool saturate,
                       const std::string& rounding) {
  const auto mode = static_cast<ScaleRounding>(place(kRoundings, rounding, "rounding"));
  require(mode == ScaleRounding::nearest || name == "float8_e8m0fnu", "rounding \"", rounding,
          "\" is for float8_e8m0fnu only");
  if (mode != ScaleRounding::nearest)
    return mapped<std::uint8_t>(x, [=](float v) { return to_e8m0(v, mode, saturate); });
  return with_format(name, [&]<class F>(F) {
    return mapped<typename F::Bits>(x, [=](float v) { return to_bits<F>(v, saturate); });
  });
}

py::array from_minifloat(const py::array& codes, const std::string& name) {
  return with_format(name, [&]<class F>(F) {
    using Codes = py::array_t<typename F::Bits, py::array::c_style>;
    require(py::isinstance<py::array_t<typename F::Bits>>(codes), "codes of ", name, " are uint",
            8 * sizeof(typename F::Bits), ", not ", std::string(py::str(codes.dtype())));
    return mapped<float>(Codes(codes), [](auto code) { return to_float<F>(code); });
  });
}

using DenseInts = py::array_t<std::int32_t, py::array::c_style>;

AffineGrid checked_grid(float scale, int zero_point, int qmin, int qmax) {
  require(scale > 0.0f && scale <= std::numeric_limits<float>::max(),
          "scale must be positive and finite, not ", scale);
  require(qmin >= -32768 && qmax <= 65535 && qmin <= zero_point && zero_point <= qmax, "codes ",
          qmin, "..", qmax, " with zero point ", zero_point,
          ": expected -32768 <= qmin <= zero <= qmax <= 65535");
  return {scale, zero_point, qmin, qmax};
}

py::array encoded(const DenseFloats& x, float scale, int zero_point, int qmin, int qmax) {
  const AffineGrid grid = checked_grid(scale, zero_point, qmin, qmax);
  return mapped<std::int32_t>(x, [grid](float v) { return encode(v, grid); });
}

py::array decoded(const DenseInts& codes, float scale, int zero_point) {
  const AffineGrid grid{.scale = scale, .zero_point = zero_point};
  return mapped<float>(codes, [grid](std::int32_t code) { return decode(code, grid); });
}

py::tuple fitted(float lo, float hi, int bits, bool symmetric, bool is_signed) {
  require(bits >= 2 && bits <= 8, "fit_affine: bits must be 2..8, not ", bits);
  require(lo - lo == 0.0f && hi - hi == 0.0f, "fit_affine: the range ", lo, "..", hi,
          " is not finite");
  const AffineGrid grid = fit_affine(lo, hi, bits, symmetric, is_signed);
  return py::make_tuple(grid.scale, grid.zero_point, grid.qmin, grid.qmax);
}

py::array as_array(const std::vector<std::uint8_t>& bytes, bool is_signed) {
  const auto dtype = is_signed ? py::dtype::of<std::int8_t>() : py::dtype::of<std::uint8_t>();
  return py::array(dtype, std::vector<std::size_t>{bytes.size()}, bytes.data());
}

py::array packed(const py::array& codes, int bits) {
  require(codes.itemsize() == 1 && codes.dtype().kind() != 'b' && codes.ndim() == 1,
          "pack_bits: codes must be a vector of int8 or uint8");
  const ByteArray dense(codes.attr("view")("uint8"));
  const std::span<const std::uint8_t> source(dense.data(), static_cast<std::size_t>(dense.size()));
  const std::vector<std::uint8_t> bytes = [&] {
    const py::gil_scoped_release no_gil;
    return pack_bits(source, bits);
  }();
  return as_array(bytes, false);
}

py::array unpacked(const ByteArray& bytes, int bits, std::size_t count, bool is_signed) {
  const std::span<const std::uint8_t> source(bytes.data(), static_cast<std::size_t>(bytes.size()));
  const std::vector<std::uint8_t> codes = [&] {
    const py::gil_scoped_release no_gil;
    return unpack_bits(source, bits, count, is_signed);
  }();
  return as_array(codes, is_signed);
}

}  // namespace

void bind_quant_elements(py::module_& m) {
  m.def("fit_affine", &fitted, py::arg("lo"), py::arg("hi"), py::arg("bits"), py::arg("symmetric"),
        py::arg("signed"), "(scale, zero_point, qmin, qmax) that cover [lo, hi] and 0.");
  m.def("encode_affine", &encoded, py::arg("x"), py::arg("scale"), py::arg("zero_point"),
        py::arg("qmin"), py::arg("qmax"), "int32 codes of x on a given grid: ONNX QuantizeLinear.");
  m.def("decode_affine", &decoded, py::arg("codes"), py::arg("scale"), py::arg("zero_point"),
        "float32 values of int32 codes on a given grid: ONNX DequantizeLinear.");
  m.def("cast_to_minifloat", &to_minifloat, py::arg("x"), py::arg("format"),
        py::arg("saturate") = false, py::arg("rounding") = "nearest",
        "uint8 or uint16 codes of float32 x; rounding: float8_e8m0fnu only.");
  m.def("minifloat_to_float", &from_minifloat, py::arg("codes"), py::arg("format"),
        "float32 values of codes.");
  m.def("pack_bits", &packed, py::arg("codes"), py::arg("bits"),
        "Codes without gaps, lowest bits first.");
  m.def("unpack_bits", &unpacked, py::arg("bytes"), py::arg("bits"), py::arg("count"),
        py::arg("signed") = false, "The codes pack_bits packed.");
}

}  // namespace qeff::python
