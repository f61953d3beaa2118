/// @file
/// Python face of kernels/roof.hpp.
#include "qeff/kernels/roof.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <optional>
#include <string>

#include "executors.hpp"

namespace py = pybind11;

namespace qeff::python {

void bind_roof(py::module_& m);

namespace {

py::dict rate_dict(const kernels::Rate& rate) {
  py::dict result;
  result["one"] = rate.one;
  result["all"] = rate.all;
  return result;
}

/// Only what there is: products the ISA lacks and levels the CPU lacks are left out.
py::dict roof_dict(const kernels::Roof& roof) {
  py::dict products, reading, caches;
  const auto add = [](py::dict& to, const char* name, const kernels::Rate& rate) {
    if (rate.one > 0) to[name] = rate_dict(rate);
  };
  const auto add_product = [&](const char* name, const kernels::ProductRoof& p) {
    py::dict rates;
    add(rates, "registers", p.registers);
    add(rates, "fed_l1", p.fed_l1);
    add(rates, "fed_l2", p.fed_l2);
    if (!rates.empty()) products[name] = rates;
  };
  add_product("int8", roof.int8);
  add_product("u4", roof.u4);
  add_product("i16", roof.i16);
  add_product("bf16", roof.bf16);
  add_product("f32", roof.f32);
  add(reading, "l1", roof.l1);
  add(reading, "l2", roof.l2);
  add(reading, "l3", roof.l3);
  add(reading, "memory", roof.memory);
  caches["l1"] = roof.caches.l1;
  caches["l2"] = roof.caches.l2;
  caches["l3"] = roof.caches.l3;
  py::dict result;
  result["isa"] = std::string(kernels::name(roof.isa));
  result["threads"] = roof.threads;
  result["caches"] = caches;
  result["gops"] = products;
  result["gb_per_s"] = reading;
  return result;
}

py::dict roof(std::optional<double> seconds, std::size_t threads) {
  kernels::Roof measured;
  {
    const py::gil_scoped_release no_gil;
    Executor& executor = executor_of(threads);
    measured = seconds ? kernels::measure_roof(*seconds, executor) : kernels::measured_roof(executor);
  }
  return roof_dict(measured);
}

}  // namespace

void bind_roof(py::module_& m) {
  m.def("measure_roof", &roof, py::arg("seconds") = py::none(), py::arg("threads") = 0,
        "What this CPU multiplies (1e9 operations a second) and reads (1e9 bytes a second) at best. "
        "Without seconds measured once in a process, in less than two.");
}

}  // namespace qeff::python
