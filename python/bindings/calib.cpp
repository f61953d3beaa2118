/// @file
/// Python face of calib/: Hessians, GPTQ and AWQ. Checks of arrays, no arithmetic.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <string>
#include <vector>

#include "executors.hpp"
#include "qeff/calib/awq.hpp"
#include "qeff/calib/gptq.hpp"
#include "qeff/calib/hessian.hpp"
#include "qeff/core/error.hpp"

namespace py = pybind11;

namespace qeff::python {

void bind_calib(py::module_& m);

namespace {

/// A float32 matrix with any strides. @throws InvalidArgument naming `what`.
MatrixView<const float> matrix_of(const py::array& a, const char* what) {
  require(py::isinstance<py::array_t<float>>(a), what, " must be float32, not ",
          std::string(py::str(py::object(a.dtype()))));
  require(a.ndim() == 2, what, " must have 2 dimensions, not ", a.ndim());
  constexpr auto size = static_cast<py::ssize_t>(sizeof(float));
  require(a.strides(0) % size == 0 && a.strides(1) % size == 0, what,
          ": strides must be whole floats");
  return {static_cast<const float*>(a.data()), static_cast<std::size_t>(a.shape(0)),
          static_cast<std::size_t>(a.shape(1)), a.strides(0) / size, a.strides(1) / size};
}

using Vector = py::array_t<float, py::array::c_style | py::array::forcecast>;

std::span<const float> vector_of(const Vector& a, const char* what) {
  require(a.ndim() == 1, what, " must have 1 dimension, not ", a.ndim());
  return {a.data(), static_cast<std::size_t>(a.size())};
}

py::array_t<float> array_of(const std::vector<float>& values) {
  return py::array_t<float>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::tuple gptq_arrays(const py::array& w, const py::array& hessian, const GptqConfig& config,
                      std::size_t threads) {
  const auto weights = matrix_of(w, "GPTQ: w"), h = matrix_of(hessian, "GPTQ: hessian");
  GptqOutcome outcome;
  {
    const py::gil_scoped_release no_gil;
    outcome = gptq(weights, h, config, executor_of(threads));
  }
  py::dict info;
  info["damp_percent"] = outcome.damp_percent;
  info["dead_columns"] = outcome.dead_columns;
  info["loss"] = outcome.loss;
  info["fallback"] = outcome.fallback;
  return py::make_tuple(std::move(outcome.matrix), info);
}

py::tuple awq_scales_arrays(const std::vector<py::array>& weights, const py::array& hessian,
                            const Vector& mean_abs, const AwqConfig& config, std::size_t threads) {
  std::vector<MatrixView<const float>> views;
  for (const py::array& w : weights) views.push_back(matrix_of(w, "AWQ: w"));
  const auto h = matrix_of(hessian, "AWQ: hessian");
  const auto means = vector_of(mean_abs, "AWQ: mean_abs");
  AwqScales result;
  {
    const py::gil_scoped_release no_gil;
    result = awq_scales(views, h, means, config, executor_of(threads));
  }
  py::dict info;
  info["ratio"] = result.ratio;
  info["loss"] = result.loss;
  info["loss_unscaled"] = result.loss_unscaled;
  info["dead_channels"] = result.dead_channels;
  return py::make_tuple(array_of(result.scales), info);
}

QuantizedMatrix awq_quantize_arrays(const py::array& w, const Vector& scales,
                                    const py::array& hessian, const AwqConfig& config,
                                    std::size_t threads) {
  const auto weights = matrix_of(w, "AWQ: w"), h = matrix_of(hessian, "AWQ: hessian");
  const auto s = vector_of(scales, "AWQ: scales");
  const py::gil_scoped_release no_gil;
  return awq_quantize(weights, s, h, config, executor_of(threads));
}

void add_rows(HessianAccumulator& h, const py::array& x, std::size_t threads) {
  const auto rows = matrix_of(x, "Hessian: x");
  const py::gil_scoped_release no_gil;
  h.add(rows, executor_of(threads));
}

void bind_hessian(py::module_& m) {
  py::class_<HessianAccumulator>(m, "Hessian", "Mean of x x^T and of |x| over calibration rows.")
      .def(py::init<std::size_t>(), py::arg("k"))
      .def("add", &add_rows, py::arg("x"), py::arg("threads") = 0,
           "Adds float32 rows (m, k); rows with a NaN or an infinity are skipped and counted.")
      .def_property_readonly("size", &HessianAccumulator::size, "k")
      .def_property_readonly("rows", &HessianAccumulator::rows, "Rows added so far.")
      .def_property_readonly("skipped_rows", &HessianAccumulator::skipped_rows,
                             "Rows that were not finite.")
      .def_property_readonly(
          "matrix",
          [](const HessianAccumulator& h) {
            const auto k = static_cast<py::ssize_t>(h.size());
            return array_of(h.hessian()).reshape({k, k});
          },
          "(k, k) float32: mean of x x^T.")
      .def_property_readonly(
          "mean_abs", [](const HessianAccumulator& h) { return array_of(h.mean_abs()); },
          "(k) float32: mean of |x|.");
}

void bind_gptq(py::module_& m) {
  const GptqConfig d;
  m.def(
      "gptq",
      [](const py::array& w, const py::array& hessian, int bits, std::size_t group_size,
         bool symmetric, bool desc_act, bool group_aware, bool static_groups, double damp_percent,
         int range_grid, int refine_sweeps, std::size_t threads) {
        return gptq_arrays(w, hessian,
                           {bits, group_size, symmetric, desc_act, group_aware, static_groups,
                            damp_percent, range_grid, refine_sweeps},
                           threads);
      },
      py::arg("w"), py::arg("hessian"), py::arg("bits") = d.bits,
      py::arg("group_size") = d.group_size, py::arg("symmetric") = d.symmetric,
      py::arg("desc_act") = d.desc_act, py::arg("group_aware") = d.group_aware,
      py::arg("static_groups") = d.static_groups, py::arg("damp_percent") = d.damp_percent,
      py::arg("range_grid") = d.range_grid, py::arg("refine_sweeps") = d.refine_sweeps,
      py::arg("threads") = 0,
      "(QuantizedMatrix, {damp_percent, dead_columns, loss, fallback}) of float32 weights (n, k).");
}

AwqConfig awq_config(int bits, std::size_t group_size, bool zero_point, int scale_grid,
                     bool duo_scaling, bool clip, int clip_grid, double max_shrink) {
  return {bits, group_size, zero_point, scale_grid, duo_scaling, clip, clip_grid, max_shrink};
}

void bind_awq(py::module_& m) {
  const AwqConfig d;
  py::class_<AwqConfig>(m, "AwqConfig", "Options of AWQ.")
      .def(py::init(&awq_config), py::arg("bits") = d.bits, py::arg("group_size") = d.group_size,
           py::arg("zero_point") = d.zero_point, py::arg("scale_grid") = d.scale_grid,
           py::arg("duo_scaling") = d.duo_scaling, py::arg("clip") = d.clip,
           py::arg("clip_grid") = d.clip_grid, py::arg("max_shrink") = d.max_shrink);
  m.def("awq_scales", &awq_scales_arrays, py::arg("weights"), py::arg("hessian"),
        py::arg("mean_abs"), py::arg("config") = d, py::arg("threads") = 0,
        "(scales (k), {ratio, loss, loss_unscaled, dead_channels}) for matrices (n_i, k) that read "
        "the same input.");
  m.def("awq_quantize", &awq_quantize_arrays, py::arg("w"), py::arg("scales"), py::arg("hessian"),
        py::arg("config") = d, py::arg("threads") = 0,
        "QuantizedMatrix of w * scales with the clip search; x must be divided by scales.");
}

}  // namespace

void bind_calib(py::module_& m) {
  bind_hessian(m);
  bind_gptq(m);
  bind_awq(m);
}

}  // namespace qeff::python
