/// @file
/// Python face of the quantizers of quant/: checks of arrays, no arithmetic.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "names.hpp"
#include "qeff/core/error.hpp"
#include "qeff/core/minifloat.hpp"
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
void bind_quant_elements(py::module_& m);

namespace {

using FloatArray = py::array_t<float>;
using ByteArray = py::array_t<std::uint8_t>;
using DenseFloats = py::array_t<float, py::array::c_style>;

constexpr std::array<std::string_view, 3> kKinds{"affine", "codebook", "minifloat"};
constexpr std::array<std::string_view, 4> kGranularities{"per_tensor", "per_channel", "per_group",
                                                         "per_block"};
constexpr std::array<std::string_view, 3> kRanges{"minmax", "percentile", "mse"};
constexpr std::array<std::string_view, 2> kFp8{"e4m3", "e5m2"};
constexpr std::array<std::string_view, 2> kCodebooks{"nf4", "fp4"};
/// `array` as a matrix of T, strides in elements; `name` is the argument's.
template <class T>
MatrixView<const T> view(const py::array& array, const char* name) {
  require(array.ndim() == 2, name, " has ", array.ndim(),
          " dimensions; expected a matrix (rows, columns)");
  constexpr auto kSize = static_cast<py::ssize_t>(sizeof(T));
  require(array.strides(0) % kSize == 0 && array.strides(1) % kSize == 0 &&
              reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) == 0,
          name, " is not aligned to its elements; copy it first");
  return {static_cast<const T*>(array.data()), static_cast<std::size_t>(array.shape(0)),
          static_cast<std::size_t>(array.shape(1)), array.strides(0) / kSize,
          array.strides(1) / kSize};
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
  if (py::isinstance<py::array_t<std::uint16_t>>(w) && dtype == "bfloat16")
    return run(view<bf16_t>(w, "w"));
  throw InvalidArgument(
      str("w has dtype ", std::string(py::str(w.dtype())),
          "; expected float32, float16, or uint16 with dtype=\"bfloat16\" or \"float16\""));
}

AffineConfig affine_config(int bits, bool symmetric, bool is_signed, const std::string& granularity,
                           std::size_t group_size, const std::string& range, double percentile) {
  return {
      .bits = bits,
      .is_signed = is_signed,
      .symmetric = symmetric,
      .granularity = static_cast<Granularity>(place(kGranularities, granularity, "granularity")),
      .group_size = group_size,
      .range = static_cast<RangeMethod>(place(kRanges, range, "range")),
      .percentile = percentile};
}

MatrixView<float> writable_view(FloatArray& out) {
  return {out.mutable_data(), static_cast<std::size_t>(out.shape(0)),
          static_cast<std::size_t>(out.shape(1))};
}

FloatArray fake_quantized(const py::array& w, const AffineConfig& config,
                          const std::optional<std::string>& dtype) {
  require(w.ndim() == 2, "w has ", w.ndim(), " dimensions; expected a matrix (rows, columns)");
  FloatArray out({w.shape(0), w.shape(1)});
  const MatrixView<float> target = writable_view(out);
  with_matrix(w, dtype, [&](auto matrix) { fake_quantize(matrix, config, target); });
  return out;
}

QuantizedMatrix codebook_quantized(const py::array& w, const std::string& codebook,
                                   std::size_t group_size, bool double_quant,
                                   const std::optional<std::string>& dtype) {
  const Codebook& book = place(kCodebooks, codebook, "codebook") == 0 ? kNf4 : kFp4;
  return with_matrix(w, dtype, [&](auto matrix) {
    QuantizedMatrix q = quantize_codebook(matrix, CodebookConfig{book, group_size});
    if (double_quant) double_quantize_scales(q);
    return q;
  });
}

QuantizedMatrix fp8_quantized(const py::array& w, const std::string& format,
                              const std::string& granularity, std::size_t group_size,
                              const std::optional<std::string>& dtype) {
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
  if (!q.zero_points.empty())
    return borrowed<std::int32_t>(q.zero_points.data(), {q.rows, q.groups()}, self);
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
  return str("QuantizedMatrix(", kKinds[static_cast<std::size_t>(q.kind)], ", bits=", q.bits,
             ", shape=(", q.rows, ", ", q.cols, "), group_size=", q.group_size, ")");
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

py::tuple double_quantized(const DenseFloats& scales) {
  const std::span<const float> source(scales.data(), static_cast<std::size_t>(scales.size()));
  const DoubleQuantizedScales stored = [&] {
    const py::gil_scoped_release no_gil;
    return double_quantize(source);
  }();
  return py::make_tuple(
      ByteArray(std::vector<std::size_t>{stored.codes.size()}, stored.codes.data()),
      FloatArray(std::vector<std::size_t>{stored.absmax.size()}, stored.absmax.data()),
      stored.offset);
}

void bind_matrix(py::module_& m) {
  py::class_<QuantizedMatrix>(m, "QuantizedMatrix",
                              "Codes and the parameters that turn them into values.")
      .def_property_readonly("codes", &codes_of,
                             "(rows, cols) int8 (signed affine) or uint8; read-only")
      .def_property_readonly(
          "scale",
          [](const py::object& self) {
            const auto& q = self.cast<const QuantizedMatrix&>();
            return borrowed<float>(q.scales.data(), {q.rows, q.groups()}, self);
          },
          "(rows, groups) float32; read-only")
      .def_property_readonly("zero_point", &zero_points_of,
                             "(rows, groups) int32; None unless affine")
      .def_property_readonly("input_scale", &input_scale_of,
                             "(cols,) float32 or None: W' goes with x * input_scale")
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
          "shape", [](const QuantizedMatrix& q) { return py::make_tuple(q.rows, q.cols); },
          "(rows, cols)")
      .def_readonly("bits", &QuantizedMatrix::bits, "Width of a code, 2..8.")
      .def_readonly("signed", &QuantizedMatrix::is_signed, "Affine codes are two's complement.")
      .def_readonly("group_size", &QuantizedMatrix::group_size, "Columns that share a scale.")
      .def_property_readonly("nbytes", &QuantizedMatrix::nbytes,
                             "Bytes at rest: packed codes, scales, zero points.")
      .def("dequantize", &dequantized, "(rows, cols) float32; input_scale is not applied")
      .def("__repr__", &described);
}

void bind_quantizers(py::module_& m) {
  const auto affine = [](const py::array& w, int bits, bool symmetric, bool is_signed,
                         const std::string& granularity, std::size_t group_size,
                         const std::string& range, double percentile,
                         const std::optional<std::string>& dtype) {
    const auto config =
        affine_config(bits, symmetric, is_signed, granularity, group_size, range, percentile);
    return with_matrix(w, dtype, [&](auto matrix) { return quantize_affine(matrix, config); });
  };
  const auto fake = [](const py::array& w, int bits, bool symmetric, bool is_signed,
                       const std::string& granularity, std::size_t group_size,
                       const std::string& range, double percentile,
                       const std::optional<std::string>& dtype) {
    return fake_quantized(
        w, affine_config(bits, symmetric, is_signed, granularity, group_size, range, percentile),
        dtype);
  };
  const auto define = [&m](const char* name, auto function, const char* doc) {
    m.def(name, function, py::arg("w"), py::kw_only(), py::arg("bits") = 8,
          py::arg("symmetric") = true, py::arg("signed") = true,
          py::arg("granularity") = "per_channel", py::arg("group_size") = 128,
          py::arg("range") = "minmax", py::arg("percentile") = 99.9, py::arg("dtype") = py::none(),
          doc);
  };
  define("quantize_affine", affine, "Affine or symmetric codes of w (rows, cols).");
  define("fake_quantize", fake, "quantize_affine, then dequantize: float32 (rows, cols).");
  m.def("quantize_codebook", &codebook_quantized, py::arg("w"), py::kw_only(),
        py::arg("codebook") = "nf4", py::arg("group_size") = 64, py::arg("double_quant") = false,
        py::arg("dtype") = py::none(), "NF4 or FP4 codes of w; group_size 0: a whole row.");
  m.def("quantize_fp8", &fp8_quantized, py::arg("w"), py::kw_only(), py::arg("format") = "e4m3",
        py::arg("granularity") = "per_channel", py::arg("group_size") = 128,
        py::arg("dtype") = py::none(), "FP8 codes of w; per_block: squares of group_size.");
  m.def("double_quantize", &double_quantized, py::arg("scales"),
        "(codes, absmax, offset) of positive scales.");
  m.def("error_metrics", &metrics_of, py::arg("a"), py::arg("b"),
        "mse, sqnr_db, cosine, max_abs of b against a.");
}

}  // namespace

void bind_quant(py::module_& m) {
  bind_matrix(m);
  bind_quantizers(m);
  bind_quant_elements(m);
}

}  // namespace qeff::python
