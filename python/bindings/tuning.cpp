/// @file
/// Python face of kernels/tuning.hpp.
#include "qeff/kernels/tuning.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>

#include "executors.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/table.hpp"

namespace py = pybind11;

namespace qeff::python {

void bind_tuning(py::module_& m);

void bind_tuning(py::module_& m) {
  m.def(
      "tuning",
      [] {
        (void)kernels::active();
        return kernels::to_string(kernels::tuning());
      },
      "The values in use, ``name=value`` lines.");
  m.def("tuning_file", &kernels::tuning_file, "Where those of this machine are read from.");
  m.def(
      "measure_tuning",
      [](double seconds, std::size_t threads) {
        Executor& executor = executor_of(threads);
        const py::gil_scoped_release unlocked;
        return kernels::to_string(kernels::measure_tuning(seconds, executor));
      },
      py::arg("seconds"), py::arg("threads"), "Measured values, in the form of tuning().");
}

}  // namespace qeff::python
