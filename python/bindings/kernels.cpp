/// @file
/// Python face of kernels/: packing, matmul and what the CPU can do. Checks of arrays, no
/// arithmetic.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "executors.hpp"
#include "plans.hpp"
#include "qeff/core/error.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/matmul.hpp"
#include "qeff/kernels/pack.hpp"
#include "qeff/kernels/table.hpp"

namespace py = pybind11;

namespace qeff::python {

void bind_kernels(py::module_& m);

namespace {

using kernels::Activations;
using kernels::PackedView;
using kernels::WeightFormat;

constexpr std::array<std::string_view, 8> kFormats{"i8",   "u8",   "u4",   "cb4",
                                                   "e4m3", "e5m2", "bf16", "f32"};
constexpr std::array<std::string_view, 3> kActivationTypes{"int8", "bf16", "f32"};
constexpr std::array<std::string_view, 5> kActivations{"none", "relu", "gelu", "gelu_tanh", "silu"};

/// The enumerator at the place of `name` in `names`.
template <class Enum, std::size_t N>
Enum parse(const std::array<std::string_view, N>& names, const std::string& name,
           const char* what) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    std::string list;
    for (const auto n : names) list += (list.empty() ? "" : ", ") + std::string(n);
    throw InvalidArgument(str(what, " \"", name, "\" is none of ", list));
  }
  return static_cast<Enum>(found - names.begin());
}

template <class Enum, std::size_t N>
std::string spell(const std::array<std::string_view, N>& names, Enum value) {
  return std::string(names[static_cast<std::size_t>(value)]);
}

/// Packed weights in memory of their own, or borrowed from arrays that `owner` keeps alive.
struct Packed {
  kernels::PackedMatrix matrix;
  PackedView view;
  std::size_t bytes = 0;
  py::object owner;

  explicit Packed(kernels::PackedMatrix m)
      : matrix(std::move(m)), view(matrix.view), bytes(matrix.nbytes()) {}
  Packed(const PackedView& v, std::size_t n, py::object o)
      : view(v), bytes(n), owner(std::move(o)) {}
};

std::size_t extent(const py::array& a, py::ssize_t axis) {
  return static_cast<std::size_t>(a.shape(axis));
}

/// A float32 matrix as it lies in memory. @throws InvalidArgument naming `what`.
MatrixView<float> float_matrix(const py::array& a, const char* what, bool writable = false) {
  if (!py::isinstance<py::array_t<float>>(a))  // the text of a dtype takes microseconds
    throw InvalidArgument(str("matmul: ", what, " must be float32, not ", std::string(py::str(py::object(a.dtype())))));
  require(a.ndim() == 2, "matmul: ", what, " must have 2 dimensions, not ", a.ndim());
  constexpr auto size = static_cast<py::ssize_t>(sizeof(float));
  require(a.size() == 0 || a.shape(1) <= 1 || a.strides(1) == size, "matmul: rows of ", what,
          " must be contiguous");
  require(a.strides(0) % size == 0, "matmul: row stride of ", what, " must be whole floats");
  require(!writable || a.writeable(), "matmul: ", what, " is read-only");
  auto* const data = const_cast<float*>(static_cast<const float*>(a.data()));
  return {data, extent(a, 0), extent(a, 1), a.strides(0) / size, 1};
}

/// bfloat16 bit patterns (m, k) as float32.
py::array_t<float> widen_bf16(const py::array_t<std::uint16_t>& bits) {
  require(bits.ndim() == 2, "matmul: x must have 2 dimensions, not ", bits.ndim());
  py::array_t<float> out({bits.shape(0), bits.shape(1)});
  const auto in = bits.unchecked<2>();
  auto wide = out.mutable_unchecked<2>();
  for (py::ssize_t r = 0; r < in.shape(0); ++r)
    for (py::ssize_t c = 0; c < in.shape(1); ++c)
      wide(r, c) = std::bit_cast<float>(static_cast<std::uint32_t>(in(r, c)) << 16);
  return out;
}

const float* bias_of(const std::optional<py::array>& bias, std::size_t n) {
  if (!bias) return nullptr;
  require(py::isinstance<py::array_t<float>>(*bias) && bias->ndim() == 1 && extent(*bias, 0) == n &&
              (n <= 1 || bias->strides(0) == static_cast<py::ssize_t>(sizeof(float))),
          "matmul: bias must be float32, contiguous, of shape (", n, ",)");
  return static_cast<const float*>(bias->data());
}

py::array matmul_arrays(const py::array& x, const Packed& w, const std::optional<py::array>& bias,
                        const std::string& activation, const std::optional<py::array>& residual,
                        const std::optional<py::array>& out, std::size_t threads) {
  const py::array input =
      py::isinstance<py::array_t<std::uint16_t>>(x) ? py::array(widen_bf16(x)) : x;
  const auto xs = float_matrix(input, "x");
  require(xs.cols == w.view.k, "matmul: x has ", xs.cols,
          " columns, the weights have k = ", w.view.k);
  py::array y = out ? *out : py::array(py::array_t<float>({xs.rows, w.view.n}));
  const auto ys = float_matrix(y, "out", true);
  require(ys.rows == xs.rows && ys.cols == w.view.n, "matmul: out has shape (", ys.rows, ", ",
          ys.cols, "), expected (", xs.rows, ", ", w.view.n, ")");
  Epilogue epilogue;
  epilogue.bias = bias_of(bias, w.view.n);
  epilogue.activation = parse<Activation>(kActivations, activation, "matmul: activation");
  if (residual) {
    const auto rs = float_matrix(*residual, "residual");
    require(rs.rows == xs.rows && rs.cols == w.view.n && rs.row_stride >= 0,
            "matmul: residual has shape (", rs.rows, ", ", rs.cols, "), expected (", xs.rows, ", ",
            w.view.n, ")");
    epilogue.residual = rs.data;
    epilogue.residual_stride = static_cast<std::size_t>(rs.row_stride);
  }
  if (xs.rows == 0) return y;
  const py::gil_scoped_release no_gil;
  matmul(xs, w.view, ys, epilogue, executor_of(threads));
  return y;
}

py::array_t<std::int32_t> accumulators(const py::array& x, const Packed& w, std::size_t group) {
  const auto xs = float_matrix(x, "x");
  require(xs.cols == w.view.k, "matmul: x has ", xs.cols,
          " columns, the weights have k = ", w.view.k);
  py::array_t<std::int32_t> acc({xs.rows, w.view.n});
  matmul_accumulators(xs, w.view, group, acc.mutable_data());
  return acc;
}

py::array_t<float> unpack_array(const Packed& w) {
  py::array_t<float> out({w.view.n, w.view.k});
  unpack(w.view, {out.mutable_data(), w.view.n, w.view.k});
  return out;
}

/// The buffers of `self` as read-only arrays that keep it alive.
py::dict buffers(const py::object& self) {
  const auto& w = self.cast<const Packed&>();
  py::dict parts;
  const auto add = [&](const char* name, const auto* data, std::size_t count) {
    if (!data || count == 0) return;
    using T = std::remove_const_t<std::remove_pointer_t<decltype(data)>>;
    py::array_t<T> a({static_cast<py::ssize_t>(count)}, data, self);
    a.attr("setflags")(py::arg("write") = false);
    parts[name] = a;
  };
  const PackedView& v = w.view;
  add("codes", reinterpret_cast<const std::uint8_t*>(v.codes), v.code_bytes());
  if (v.scales) add("scales", v.scales, v.scale_count());
  if (v.bf16_scales) add("bf16_scales", v.bf16_scales, v.scale_count());
  if (v.zero_points) add("zero_points", v.zero_points, v.scale_count());
  add("codebook", v.codebook, std::size_t{16});
  add("input_scale", v.input_scale, v.k_padded());
  return parts;
}

/// Rebuilds packed weights from buffers(); arrays that are not 64-byte aligned are copied first.
class Rebuilder {
 public:
  explicit Rebuilder(const py::dict& parts) : parts_(parts) {}

  template <class T>
  const T* take(const char* name, std::size_t count, bool needed) {
    if (!parts_.contains(name)) {
      require(!needed, "PackedMatrix: part \"", name, "\" is missing");
      return nullptr;
    }
    const auto a = py::cast<py::array>(parts_[name]);
    require(py::isinstance<py::array_t<T>>(a) && a.ndim() == 1 && extent(a, 0) == count &&
                (count <= 1 || a.strides(0) == static_cast<py::ssize_t>(sizeof(T))),
            "PackedMatrix: part \"", name, "\" must be a contiguous vector of ", count,
            " elements of its type");
    bytes_ += count * sizeof(T);
    const auto* data = static_cast<const T*>(a.data());
    if (reinterpret_cast<std::uintptr_t>(data) % AlignedBuffer::kAlignment == 0) {
      owner_.append(a);
      return data;
    }
    auto copy = std::make_unique<AlignedBuffer>(count * sizeof(T));
    std::memcpy(copy->data(), data, count * sizeof(T));
    data = copy->as<T>();
    owner_.append(
        py::capsule(copy.release(), [](void* p) { delete static_cast<AlignedBuffer*>(p); }));
    return data;
  }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] py::list owner() const { return owner_; }

 private:
  const py::dict& parts_;
  py::list owner_;
  std::size_t bytes_ = 0;
};

std::unique_ptr<Packed> from_buffers(const std::string& format, const std::string& activations,
                                     std::size_t n, std::size_t k, std::size_t group_size,
                                     const py::dict& parts) {
  PackedView v;
  v.format = parse<WeightFormat>(kFormats, format, "PackedMatrix: format");
  v.activations = parse<Activations>(kActivationTypes, activations, "PackedMatrix: activations");
  constexpr std::size_t limit = std::size_t{1} << 31;
  require(n > 0 && k > 0 && n < limit && k < limit, "PackedMatrix: n = ", n, " and k = ", k,
          " must be in 1..2^31");
  require(group_size >= 1 && group_size <= k, "PackedMatrix: group_size = ", group_size,
          " must be in 1..", k);
  v.n = n, v.k = k, v.group_size = group_size;
  const bool scaled = v.format != WeightFormat::bf16 && v.format != WeightFormat::f32;
  const bool zeros = v.format == WeightFormat::u8 || v.format == WeightFormat::u4;
  Rebuilder parts_of(parts);
  v.codes = reinterpret_cast<const std::byte*>(
      parts_of.take<std::uint8_t>("codes", v.code_bytes(), true));
  if (scaled && v.groups() > 1) v.bf16_scales = parts_of.take<std::uint16_t>("bf16_scales", v.scale_count(), false);
  if (scaled && !v.bf16_scales) v.scales = parts_of.take<float>("scales", v.scale_count(), true);
  if (zeros) v.zero_points = parts_of.take<std::uint8_t>("zero_points", v.scale_count(), true);
  if (v.format == WeightFormat::cb4) v.codebook = parts_of.take<float>("codebook", 16, true);
  v.input_scale = parts_of.take<float>("input_scale", v.k_padded(), false);
  return std::make_unique<Packed>(v, parts_of.bytes(), parts_of.owner());
}

std::unique_ptr<Packed> pack_matrix(const QuantizedMatrix& q,
                                    const std::optional<std::string>& activations) {
  std::optional<Activations> mode;
  if (activations) mode = parse<Activations>(kActivationTypes, *activations, "pack: activations");
  return std::make_unique<Packed>(pack(q, mode));
}

/// `q` with the scales its input is multiplied by, (cols).
QuantizedMatrix with_input_scale(QuantizedMatrix q,
                                 const py::array_t<float, py::array::c_style>& scale) {
  require(scale.ndim() == 1 && extent(scale, 0) == q.cols,
          "with_input_scale: scale must have shape (", q.cols, ",)");
  q.input_scale.assign(scale.data(), scale.data() + scale.size());
  return q;
}

std::unique_ptr<Packed> pack_float_matrix(const py::array& w, const std::string& format) {
  const auto view = float_matrix(w, "w");
  return std::make_unique<Packed>(
      pack_float(view, parse<WeightFormat>(kFormats, format, "pack_float: format")));
}

std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const kernels::Isa isa : kernels::supported_isas()) names.emplace_back(kernels::name(isa));
  return names;
}

void set_active_isa(const std::optional<std::string>& name) {
  if (!name) return kernels::set_active({});
  const auto isa = kernels::isa_from_name(*name);
  require(isa.has_value(), "set_active_isa: unknown ISA \"", *name, "\"");
  kernels::set_active(isa);
}

py::dict plan(const Packed& w, std::size_t rows, bool measure, std::size_t threads) {
  MatmulPlan result;
  {
    const py::gil_scoped_release no_gil;
    result = explain_matmul(w.view, rows, executor_of(threads), measure);
  }
  py::dict row;
  add_plan(row, result);
  return row;
}

void bind_packed(py::module_& m) {
  py::class_<Packed>(m, "PackedMatrix", "Weights (n, k) in the packed order of the kernels.")
      .def_property_readonly(
          "n", [](const Packed& w) { return w.view.n; }, "Output features.")
      .def_property_readonly(
          "k", [](const Packed& w) { return w.view.k; }, "Input features.")
      .def_property_readonly("shape",
                             [](const Packed& w) { return py::make_tuple(w.view.n, w.view.k); })
      .def_property_readonly(
          "group_size", [](const Packed& w) { return w.view.group_size; },
          "Columns that share a scale.")
      .def_property_readonly(
          "format", [](const Packed& w) { return spell(kFormats, w.view.format); },
          "i8, u8, u4, cb4, e4m3, e5m2, bf16 or f32.")
      .def_property_readonly(
          "activations",
          [](const Packed& w) { return spell(kActivationTypes, w.view.activations); },
          "What x is turned into: int8, bf16 or f32.")
      .def_readonly("nbytes", &Packed::bytes, "Bytes of codes and scales.")
      .def(
          "buffers", [](const py::object& self) { return buffers(self); },
          "The memory as read-only arrays by name; from_buffers() is the way back.")
      .def_static("from_buffers", &from_buffers, py::kw_only(), py::arg("format"),
                  py::arg("activations"), py::arg("n"), py::arg("k"), py::arg("group_size"),
                  py::arg("buffers"),
                  "Packed weights over the arrays of buffers(), not copied if 64-byte aligned.")
      .def("unpack", &unpack_array, "The float32 values (n, k) the weights stand for.")
      .def(
          "explain", [](const Packed& w) { return explain(w.view); },
          "One line: ISA, kernel, bytes.")
      .def("plan", &plan, py::arg("rows"), py::arg("measure") = false, py::arg("threads") = 0,
           "A matmul of that many rows next to the roof of this machine: kernel, pass_bytes, operations, "
           "bound, least_seconds; measured also seconds, roof_share.")
      .def("__repr__", [](const Packed& w) {
        return str("<qeff.PackedMatrix ", spell(kFormats, w.view.format), " (", w.view.n, ", ",
                   w.view.k, ") group_size=", w.view.group_size,
                   " activations=", spell(kActivationTypes, w.view.activations), " ", w.bytes,
                   " bytes>");
      });
  m.def("pack", &pack_matrix, py::arg("q"), py::arg("activations") = py::none(),
        "Packs a QuantizedMatrix. activations: int8, bf16 or None for the default of the format.");
  m.def("with_input_scale", &with_input_scale, py::arg("q"), py::arg("scale"),
        "A copy of q for an input that is multiplied by scale (cols,) float32 first.");
  m.def("pack_float", &pack_float_matrix, py::arg("w"), py::arg("format") = "f32",
        "Packs float32 weights (n, k) as f32 or bf16.");
}

}  // namespace

void bind_kernels(py::module_& m) {
  bind_packed(m);
  m.def("matmul", &matmul_arrays, py::arg("x"), py::arg("weights"), py::arg("bias") = py::none(),
        py::arg("activation") = "none", py::arg("residual") = py::none(),
        py::arg("out") = py::none(), py::arg("threads") = 0,
        "activation(x W^T + bias) + residual, float32 (m, n). x: float32 or bfloat16 bits as "
        "uint16, (m, k).");
  m.def("matmul_accumulators", &accumulators, py::arg("x"), py::arg("weights"),
        py::arg("group") = 0, "The int32 sums of an int8 matmul before any scale, (m, n).");
  m.def("supported_isas", &isa_names, "What this CPU can run, weakest first.");
  m.def(
      "active_isa", [] { return std::string(kernels::name(kernels::active().isa)); },
      "The instruction set in use.");
  m.def("set_active_isa", &set_active_isa, py::arg("name"),
        "Overrides active_isa(); None is the default.");
  m.def("cpu_model", &kernels::cpu_model, "Marketing name of the CPU.");
  m.def("default_threads", &Executor::default_threads, "Threads this process may use.");
}

}  // namespace qeff::python
