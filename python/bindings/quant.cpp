/// @file
/// Python face of quant/, core/minifloat.hpp and format/bits.hpp: checks of arrays, no arithmetic.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qeff/core/error.hpp"
#include "qeff/core/minifloat.hpp"
#include "qeff/format/bits.hpp"
#include "qeff/quant/affine.hpp"
#include "qeff/quant/codebook.hpp"
#include "qeff/quant/dequantize.hpp"
#include "qeff/quant/double_quant.hpp"
#include "qeff/quant/error.hpp"
#include "qeff/quant/fake_quant.hpp"
#include "qeff/quant/fp8.hpp"

namespace py = pybind11;

namespace qeff::python {

void bind_quant(py::module_& m);

namespace {

using FloatArray = py::array_t<float>;
using ByteArray = py::array_t<std::uint8_t, py::array::c_style>;

constexpr std::array<std::string_view, 3> kKinds{"affine", "codebook", "minifloat"};
constexpr std::array<std::string_view, 4> kGranularities{"per_tensor", "per_channel", "per_group", "per_block"};
constexpr std::array<std::string_view, 3> kRanges{"minmax", "percentile", "mse"};
constexpr std::array<std::string_view, 3> kRoundings{"nearest", "up", "down"};
constexpr std::array<std::string_view, 2> kFp8{"e4m3", "e5m2"};
constexpr std::array<std::string_view, 2> kCodebooks{"nf4", "fp4"};
constexpr std::array<std::string_view, 8> kMinifloats{
    "float16",         "bfloat16",        "float8_e4m3fn", "float8_e5m2",
    "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn", "float8_e8m0fnu"};

/// The place of `name` in `names`.
template <std::size_t N>
std::size_t place(const std::array<std::string_view, N>& names, std::string_view name, const char* what) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  std::string list;
  for (const auto n : names) list += (list.empty() ? "" : ", ") + std::string(n);
  throw InvalidArgument(str(what, " \"", name, "\" is none of ", list));
}

/// `array` as a matrix of T, strides in elements; `name` is the argument's.
template <class T>
MatrixView<const T> view(const py::array& array, const char* name) {
  require(array.ndim() == 2, name, " has ", array.ndim(), " dimensions; expected a matrix (rows, columns)");
  constexpr auto kSize = static_cast<py::ssize_t>(sizeof(T));
  require(array.strides(0) % kSize == 0 && array.strides(1) % kSize == 0 &&
              reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) == 0,
          name, " is not aligned to its elements; copy it first");
  return {static_cast<const T*>(array.data()), static_cast<std::size_t>(array.shape(0)),
          static_cast<std::size_t>(array.shape(1)), array.strides(0) / kSize, array.strides(1) / kSize};
}

/// Calls work(view of w) with the GIL released. `dtype` names what uint16 elements are.
template <class Work>
auto with_matrix(const py::array& w, const std::optional<std::string>& dtype, Work&& work) {
  const auto run = [&](auto matrix) {
    const py::gil_scoped_release no_gil;
    return work(matrix);
  };
  if (py::isinstance<py::array_t<float>>(w)) return run(view<float>(w, "w"));
  const bool half = w.dtype().equal(py::dtype("float16"));
  if (half || (py::isinstance<py::array_t<std::uint16_t>>(w) && dtype == "float16"))
    return run(view<f16_t>(w, "w"));
  if (py::isinstance<py::array_t<std::uint16_t>>(w) && dtype == "bfloat16") return run(view<bf16_t>(w, "w"));
  throw InvalidArgument(str("w has dtype ", std::string(py::str(w.dtype())),
                            "; expected float32, float16, or uint16 with dtype=\"bfloat16\" or \"float16\""));
}

AffineConfig affine_config(int bits, bool symmetric, bool is_signed, const std::string& granularity,
                           std::size_t group_size, const std::string& range, double percentile) {
  return {.bits = bits,
          .is_signed = is_signed,
          .symmetric = symmetric,
          .granularity = static_cast<Granularity>(place(kGranularities, granularity, "granularity")),
          .group_size = group_size,
          .range = static_cast<RangeMethod>(place(kRanges, range, "range")),
          .percentile = percentile};
}

MatrixView<float> writable_view(FloatArray& out) {
  return {out.mutable_data(), static_cast<std::size_t>(out.shape(0)), static_cast<std::size_t>(out.shape(1))};
}

FloatArray fake_quantized(const py::array& w, const AffineConfig& config, const std::optional<std::string>& dtype) {
  require(w.ndim() == 2, "w has ", w.ndim(), " dimensions; expected a matrix (rows, columns)");
  FloatArray out({w.shape(0), w.shape(1)});
  const MatrixView<float> target = writable_view(out);
  with_matrix(w, dtype, [&](auto matrix) { fake_quantize(matrix, config, target); });
  return out;
}

QuantizedMatrix codebook_quantized(const py::array& w, const std::string& codebook, std::size_t group_size,
                                   bool double_quant, const std::optional<std::string>& dtype) {
  const Codebook& book = place(kCodebooks, codebook, "codebook") == 0 ? kNf4 : kFp4;
  return with_matrix(w, dtype, [&](auto matrix) {
    QuantizedMatrix q = quantize_codebook(matrix, CodebookConfig{book, group_size});
    if (double_quant) double_quantize_scales(q);
    return q;
  });
}

QuantizedMatrix fp8_quantized(const py::array& w, const std::string& format, const std::string& granularity,
                              std::size_t group_size, const std::optional<std::string>& dtype) {
  const Fp8Config config{
      .format = place(kFp8, format, "format") == 0 ? DType::e4m3 : DType::e5m2,
      .granularity = static_cast<Granularity>(place(kGranularities, granularity, "granularity")),
      .group_size = group_size};
  return with_matrix(w, dtype, [&](auto matrix) { return quantize_fp8(matrix, config); });
}

/// A read-only array over memory that `owner` keeps alive.
template <class T>
py::array borrowed(const void* data, std::vector<std::size_t> shape, py::handle owner) {
  py::array array(py::dtype::of<T>(), std::move(shape), data, owner);
  array.attr("flags").attr("writeable") = false;
  return array;
}

py::array codes_of(const py::object& self) {
  const auto& q = self.cast<const QuantizedMatrix&>();
  return q.is_signed ? borrowed<std::int8_t>(q.codes.data(), {q.rows, q.cols}, self)
                     : borrowed<std::uint8_t>(q.codes.data(), {q.rows, q.cols}, self);
}

py::object zero_points_of(const py::object& self) {
  const auto& q = self.cast<const QuantizedMatrix&>();
  if (q.kind != CodeKind::affine) return py::none();
  if (!q.zero_points.empty()) return borrowed<std::int32_t>(q.zero_points.data(), {q.rows, q.groups()}, self);
  py::array_t<std::int32_t> zeros(std::vector<std::size_t>{q.rows, q.groups()});
  std::fill_n(zeros.mutable_data(), q.rows * q.groups(), 0);
  return zeros;
}

py::object input_scale_of(const py::object& self) {
  const auto& q = self.cast<const QuantizedMatrix&>();
  if (q.input_scale.empty()) return py::none();
  return borrowed<float>(q.input_scale.data(), {q.cols}, self);
}

FloatArray dequantized(const QuantizedMatrix& q) {
  FloatArray out(std::vector<std::size_t>{q.rows, q.cols});
  const MatrixView<float> target = writable_view(out);
  {
    const py::gil_scoped_release no_gil;
    dequantize(q, target);
  }
  return out;
}

std::string described(const QuantizedMatrix& q) {
  return str("QuantizedMatrix(", kKinds[static_cast<std::size_t>(q.kind)], ", bits=", q.bits, ", shape=(", q.rows,
             ", ", q.cols, "), group_size=", q.group_size, ")");
}

py::dict metrics_of(const FloatArray& a, const FloatArray& b) {
  const auto reference = view<float>(a, "a"), approximation = view<float>(b, "b");
  const ErrorMetrics metrics = [&] {
    const py::gil_scoped_release no_gil;
    return error_metrics(reference, approximation);
  }();
  py::dict result;
  result["mse"] = metrics.mse;
  result["sqnr_db"] = metrics.sqnr_db;
  result["cosine"] = metrics.cosine;
  result["max_abs"] = metrics.max_abs;
  return result;
}

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
    case 0: return work(F16{});
    case 1: return work(BF16{});
    case 2: return work(E4M3{});
    case 3: return work(E5M2{});
    case 4: return work(E2M3{});
    case 5: return work(E3M2{});
    case 6: return work(E2M1{});
    default: return work(E8M0{});
  }
}

using DenseFloats = py::array_t<float, py::array::c_style>;

py::array to_minifloat(const DenseFloats& x, const std::string& name, bool saturate, const std::string& rounding) {
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
  require(scale > 0.0f && scale <= std::numeric_limits<float>::max(), "scale must be positive and finite, not ", scale);
  require(qmin >= -32768 && qmax <= 65535 && qmin <= zero_point && zero_point <= qmax,
          "codes ", qmin, "..", qmax, " with zero point ", zero_point, ": expected -32768 <= qmin <= zero <= qmax <= 65535");
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
  require(lo - lo == 0.0f && hi - hi == 0.0f, "fit_affine: the range ", lo, "..", hi, " is not finite");
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

py::tuple double_quantized(const DenseFloats& scales) {
  const std::span<const float> source(scales.data(), static_cast<std::size_t>(scales.size()));
  const DoubleQuantizedScales stored = [&] {
    const py::gil_scoped_release no_gil;
    return double_quantize(source);
  }();
  return py::make_tuple(as_array(stored.codes, false),
                        FloatArray(std::vector<std::size_t>{stored.absmax.size()}, stored.absmax.data()),
                        stored.offset);
}

void bind_matrix(py::module_& m) {
  py::class_<QuantizedMatrix>(m, "QuantizedMatrix", "Codes and the parameters that turn them into values.")
      .def_property_readonly("codes", &codes_of, "(rows, cols) int8 (signed affine) or uint8; read-only")
      .def_property_readonly(
          "scale",
          [](const py::object& self) {
            const auto& q = self.cast<const QuantizedMatrix&>();
            return borrowed<float>(q.scales.data(), {q.rows, q.groups()}, self);
          },
          "(rows, groups) float32; read-only")
      .def_property_readonly("zero_point", &zero_points_of, "(rows, groups) int32; None unless affine")
      .def_property_readonly("input_scale", &input_scale_of, "(cols,) float32 or None: W' goes with x * input_scale")
      .def_property_readonly(
          "codebook",
          [](const QuantizedMatrix& q) -> py::object {
            if (q.kind != CodeKind::codebook) return py::none();
            return FloatArray(std::vector<std::size_t>{q.codebook.size()}, q.codebook.data());
          },
          "(16,) float32, ascending; None unless codebook")
      .def_property_readonly(
          "kind", [](const QuantizedMatrix& q) { return kKinds[static_cast<std::size_t>(q.kind)]; },
          "affine, codebook or minifloat")
      .def_property_readonly(
          "float_format",
          [](const QuantizedMatrix& q) -> py::object {
            if (q.kind != CodeKind::minifloat) return py::none();
            return py::str(q.float_format == DType::e5m2 ? "e5m2" : "e4m3");
          },
          "e4m3 or e5m2; None unless minifloat")
      .def_property_readonly(
          "shape", [](const QuantizedMatrix& q) { return py::make_tuple(q.rows, q.cols); }, "(rows, cols)")
      .def_readonly("bits", &QuantizedMatrix::bits, "Width of a code, 2..8.")
      .def_readonly("signed", &QuantizedMatrix::is_signed, "Affine codes are two's complement.")
      .def_readonly("group_size", &QuantizedMatrix::group_size, "Columns that share a scale.")
      .def_property_readonly("nbytes", &QuantizedMatrix::nbytes, "Bytes at rest: packed codes, scales, zero points.")
      .def("dequantize", &dequantized, "(rows, cols) float32; input_scale is not applied")
      .def("__repr__", &described);
}

void bind_quantizers(py::module_& m) {
  const auto affine = [](const py::array& w, int bits, bool symmetric, bool is_signed,
                         const std::string& granularity, std::size_t group_size, const std::string& range,
                         double percentile, const std::optional<std::string>& dtype) {
    const auto config = affine_config(bits, symmetric, is_signed, granularity, group_size, range, percentile);
    return with_matrix(w, dtype, [&](auto matrix) { return quantize_affine(matrix, config); });
  };
  const auto fake = [](const py::array& w, int bits, bool symmetric, bool is_signed, const std::string& granularity,
                       std::size_t group_size, const std::string& range, double percentile,
                       const std::optional<std::string>& dtype) {
    return fake_quantized(w, affine_config(bits, symmetric, is_signed, granularity, group_size, range, percentile),
                          dtype);
  };
  const auto define = [&m](const char* name, auto function, const char* doc) {
    m.def(name, function, py::arg("w"), py::kw_only(), py::arg("bits") = 8, py::arg("symmetric") = true,
          py::arg("signed") = true, py::arg("granularity") = "per_channel", py::arg("group_size") = 128,
          py::arg("range") = "minmax", py::arg("percentile") = 99.9, py::arg("dtype") = py::none(), doc);
  };
  define("quantize_affine", affine, "Affine or symmetric codes of w (rows, cols).");
  define("fake_quantize", fake, "quantize_affine, then dequantize: float32 (rows, cols).");
  m.def("quantize_codebook", &codebook_quantized, py::arg("w"), py::kw_only(), py::arg("codebook") = "nf4",
        py::arg("group_size") = 64, py::arg("double_quant") = false, py::arg("dtype") = py::none(),
        "NF4 or FP4 codes of w; group_size 0: a whole row.");
  m.def("quantize_fp8", &fp8_quantized, py::arg("w"), py::kw_only(), py::arg("format") = "e4m3",
        py::arg("granularity") = "per_channel", py::arg("group_size") = 128, py::arg("dtype") = py::none(),
        "FP8 codes of w; per_block: squares of group_size.");
  m.def("double_quantize", &double_quantized, py::arg("scales"), "(codes, absmax, offset) of positive scales.");
  m.def("error_metrics", &metrics_of, py::arg("a"), py::arg("b"), "mse, sqnr_db, cosine, max_abs of b against a.");
}

}  // namespace

void bind_quant(py::module_& m) {
  bind_matrix(m);
  bind_quantizers(m);
  m.def("fit_affine", &fitted, py::arg("lo"), py::arg("hi"), py::arg("bits"), py::arg("symmetric"), py::arg("signed"),
        "(scale, zero_point, qmin, qmax) that cover [lo, hi] and 0.");
  m.def("encode_affine", &encoded, py::arg("x"), py::arg("scale"), py::arg("zero_point"), py::arg("qmin"),
        py::arg("qmax"), "int32 codes of x on a given grid: ONNX QuantizeLinear.");
  m.def("decode_affine", &decoded, py::arg("codes"), py::arg("scale"), py::arg("zero_point"),
        "float32 values of int32 codes on a given grid: ONNX DequantizeLinear.");
  m.def("cast_to_minifloat", &to_minifloat, py::arg("x"), py::arg("format"), py::arg("saturate") = false,
        py::arg("rounding") = "nearest", "uint8 or uint16 codes of float32 x; rounding: float8_e8m0fnu only.");
  m.def("minifloat_to_float", &from_minifloat, py::arg("codes"), py::arg("format"), "float32 values of codes.");
  m.def("pack_bits", &packed, py::arg("codes"), py::arg("bits"), "Codes without gaps, lowest bits first.");
  m.def("unpack_bits", &unpacked, py::arg("bytes"), py::arg("bits"), py::arg("count"), py::arg("signed") = false,
        "The codes pack_bits packed.");
}

}  // namespace qeff::python
