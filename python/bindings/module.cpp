/// @file
/// The extension module qeff._core: its errors and the bindings of each room.
#include <pybind11/gil_safe_call_once.h>
#include <pybind11/pybind11.h>

#include <exception>
#include <string>

#include "qeff/core/error.hpp"
#include "qeff/version.hpp"

namespace py = pybind11;

namespace qeff::python {

void bind_quant(py::module_& m);
void bind_kernels(py::module_& m);
void bind_roof(py::module_& m);
void bind_tuning(py::module_& m);
void bind_io(py::module_& m);
void bind_text(py::module_& m);
void bind_calib(py::module_& m);
void bind_nn(py::module_& m);
void bind_causal(py::module_& m);

namespace {

/// The exception classes; each derives from QeffError and from the natural builtin.
struct ErrorTypes {
  py::object base, invalid_argument, unsupported, format_error, io_error;
};

py::gil_safe_call_once_and_store<ErrorTypes> error_types;

py::object new_error(const char* name, const char* doc, const py::tuple& bases) {
  const std::string qualified = std::string("qeff.") + name;
  auto type = py::reinterpret_steal<py::object>(
      PyErr_NewExceptionWithDoc(qualified.c_str(), doc, bases.ptr(), nullptr));
  if (!type) throw py::error_already_set();
  return type;
}

ErrorTypes make_error_types() {
  const py::handle exception(PyExc_Exception), value(PyExc_ValueError), os(PyExc_OSError);
  ErrorTypes types;
  types.base = new_error("QeffError", "Base of all errors of qeff.", py::make_tuple(exception));
  const auto derived = [&](const char* name, const char* doc, py::handle builtin) {
    return new_error(name, doc, py::make_tuple(types.base, builtin));
  };
  types.invalid_argument =
      derived("InvalidArgument", "A wrong argument: shape, range, name. Also a ValueError.", value);
  types.unsupported = derived(
      "Unsupported", "Valid, but nothing this build or format can do. Also a ValueError.", value);
  types.format_error = derived(
      "FormatError",
      "A file that breaks the rules of its format (file, offset). Also a ValueError.", value);
  types.io_error =
      derived("IoError", "The operating system refused (errno, filename). Also an OSError.", os);
  return types;
}

/// What the message says after "file: ", which OSError prints by itself.
std::string without_file(const std::string& what, const std::string& file) {
  const std::string prefix = file + ": ";
  return what.starts_with(prefix) ? what.substr(prefix.size()) : what;
}

void raise(const py::object& type, const py::object& error) {
  PyErr_SetObject(type.ptr(), error.ptr());
}

void translate(std::exception_ptr pointer) {
  if (!pointer) return;
  const ErrorTypes& types = error_types.get_stored();
  try {
    std::rethrow_exception(pointer);
  } catch (const FormatError& e) {
    py::object error = types.format_error(e.what());
    error.attr("file") = e.file();
    error.attr("offset") = e.offset() ? py::object(py::int_(*e.offset())) : py::object(py::none());
    raise(types.format_error, error);
  } catch (const IoError& e) {
    raise(types.io_error, types.io_error(e.code(), without_file(e.what(), e.file()), e.file()));
  } catch (const InvalidArgument& e) {
    raise(types.invalid_argument, types.invalid_argument(e.what()));
  } catch (const Unsupported& e) {
    raise(types.unsupported, types.unsupported(e.what()));
  } catch (const Error& e) {
    raise(types.base, types.base(e.what()));
  }
}

void bind_errors(py::module_& m) {
  error_types.call_once_and_store_result(make_error_types);
  const ErrorTypes& types = error_types.get_stored();
  m.attr("QeffError") = types.base;
  m.attr("InvalidArgument") = types.invalid_argument;
  m.attr("Unsupported") = types.unsupported;
  m.attr("FormatError") = types.format_error;
  m.attr("IoError") = types.io_error;
  py::register_exception_translator(&translate);
}

}  // namespace
}  // namespace qeff::python

PYBIND11_MODULE(_core, m) {
  using namespace qeff::python;
  m.doc() = "The C++ library of qeff; use the package qeff instead.";
  m.attr("__version__") = std::string(qeff::version);
  bind_errors(m);
  bind_quant(m);
  bind_kernels(m);
  bind_roof(m);
  bind_tuning(m);
  bind_io(m);
  bind_text(m);
  bind_calib(m);
  bind_nn(m);
  bind_causal(m);
}
