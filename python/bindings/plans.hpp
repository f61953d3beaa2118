/// @file
/// MatmulPlan as a Python dict.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "qeff/kernels/explain.hpp"

namespace qeff::python {

/// Adds the plan to a row of explain().
inline void add_plan(pybind11::dict& row, const MatmulPlan& plan) {
  row["rows"] = plan.rows;
  row["kernel"] = std::string(kernels::name(plan.isa)) + " " + plan.kernel;
  row["pass_bytes"] = plan.bytes;
  row["operations"] = plan.operations;
  row["bound"] = plan.bound;
  row["least_seconds"] = plan.least_seconds;
  if (plan.seconds > 0) {
    row["seconds"] = plan.seconds;
    row["roof_share"] = plan.roof_share();
  }
}

}  // namespace qeff::python
