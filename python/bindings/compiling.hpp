/// @file
/// What the compilers take from Python and give back: token ids, recipes, progress, reports.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qeff/core/error.hpp"
#include "qeff/nn/compile_encoder.hpp"
#include "qeff/nn/quantization_config.hpp"
#include "qeff/nn/token_batch.hpp"

namespace qeff::python {

namespace py = pybind11;

using Ids = py::array_t<std::int32_t, py::array::c_style>;

template <class Array>
auto vector_of(const Array& a, const char* what) {
  require(a.ndim() == 1, what, " must have 1 dimension, not ", a.ndim());
  return std::vector<typename Array::value_type>(a.data(), a.data() + a.size());
}

/// Integers of any width.
inline std::vector<std::size_t> offsets_of(const py::array& a) {
  require(a.dtype().kind() == 'i' || a.dtype().kind() == 'u', "offsets must be integers, not ",
          std::string(py::str(py::object(a.dtype()))));
  std::vector<std::size_t> offsets;
  const py::array_t<std::int64_t, py::array::c_style | py::array::forcecast> wide(a);
  for (const std::int64_t offset : vector_of(wide, "offsets")) {
    require(offset >= 0, "offsets must not be negative, got ", offset);
    offsets.push_back(static_cast<std::size_t>(offset));
  }
  return offsets;
}

inline TokenBatch batch_of(const Ids& ids, const py::array& offsets,
                           const std::optional<Ids>& type_ids = {}) {
  TokenBatch batch;
  batch.ids = vector_of(ids, "ids");
  batch.offsets = offsets_of(offsets);
  if (type_ids) batch.type_ids = vector_of(*type_ids, "type_ids");
  return batch;
}

/// The recipe that Python's Config.native() describes.
inline QuantizationConfig recipe_of(const py::dict& config) {
  const std::string json = py::str(py::module_::import("json").attr("dumps")(config));
  return quantization_config_from_json(json);
}

inline py::dict report_row(const LayerReport& r) {
  py::dict row;
  row["name"] = r.name;
  row["scheme"] = r.scheme;
  row["note"] = r.note;
  row["rows"] = r.rows;
  row["cols"] = r.cols;
  row["bytes"] = r.bytes;
  row["bits"] = r.bits;
  row["mse"] = r.mse;
  row["sqnr_db"] = r.sqnr_db;
  row["cosine"] = r.cosine;
  row["max_error"] = r.max_error;
  row["hessian_loss"] = r.hessian_loss;
  row["seconds"] = r.seconds;
  row["sensitivity"] = r.sensitivity;
  return row;
}

/// Between the steps of the work: Ctrl-C is looked for, then the callable runs.
inline void progress_step(const py::object& callable, std::size_t done, std::size_t total,
                          const std::string& what) {
  const py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  if (!callable.is_none()) callable(done, total, what);
}

inline py::list report_rows(const std::vector<LayerReport>& reports) {
  py::list rows;
  for (const LayerReport& r : reports) rows.append(report_row(r));
  return rows;
}

}  // namespace qeff::python
