/// @file
/// Python face of nn/: the compiled encoder and the compiler. Checks of arrays, no arithmetic.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "compiling.hpp"
#include "plans.hpp"
#include "qeff/core/error.hpp"
#include "qeff/nn/architecture.hpp"
#include "qeff/nn/compile_encoder.hpp"
#include "qeff/nn/encoder.hpp"

namespace py = pybind11;

namespace qeff::python {

void bind_nn(py::module_& m);

namespace {

using Floats = py::array_t<float>;

Floats matrix(std::size_t rows, std::size_t cols) {
  return Floats({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(cols)});
}

std::span<float> values(Floats& a) {
  return {a.mutable_data(), static_cast<std::size_t>(a.size())};
}

Floats hidden_states(const Encoder& self, const Ids& ids, const py::array& offsets,
                     const std::optional<Ids>& type_ids) {
  const TokenBatch batch = batch_of(ids, offsets, type_ids);
  Floats out = matrix(batch.ids.size(), self.hidden_size());
  const auto span = values(out);
  const py::gil_scoped_release no_gil;
  self.hidden_states(batch, span);
  return out;
}

Floats embed(const Encoder& self, const Ids& ids, const py::array& offsets,
             const std::optional<Ids>& type_ids, const std::string& pooling, bool normalize) {
  const TokenBatch batch = batch_of(ids, offsets, type_ids);
  const Pooling how = pooling_from_name(pooling);
  Floats out = matrix(batch.sequences(), self.hidden_size());
  const auto span = values(out);
  const py::gil_scoped_release no_gil;
  self.embed(batch, how, normalize, span);
  return out;
}

Floats encode(const Encoder& self, const std::vector<std::string>& texts,
              std::optional<bool> normalize) {
  std::vector<float> embeddings;
  {
    const py::gil_scoped_release no_gil;
    embeddings = self.encode(texts, normalize);
  }
  Floats out = matrix(texts.size(), self.hidden_size());
  std::copy(embeddings.begin(), embeddings.end(), out.mutable_data());
  return out;
}

py::list explain_rows(const Encoder& self, const std::optional<std::vector<std::size_t>>& numbers,
                      bool measure) {
  std::vector<LayerPlan> plans;
  {
    const py::gil_scoped_release no_gil;
    plans = numbers ? self.explain(*numbers, measure) : self.explain();
  }
  py::list rows;
  for (const LayerPlan& plan : plans) {
    py::dict row;
    row["name"] = plan.name;
    row["scheme"] = plan.scheme;
    row["kernel"] = plan.kernel;
    row["bytes"] = plan.bytes;
    if (plan.matmul) add_plan(row, *plan.matmul);
    rows.append(row);
  }
  return rows;
}

py::list compile(const std::string& model_dir, const std::string& out_path, const py::dict& config,
                 const std::optional<std::pair<Ids, py::array>>& calibration,
                 const std::optional<std::string>& pooling, std::optional<bool> normalize,
                 std::size_t threads, const py::object& progress) {
  const QuantizationConfig recipe = recipe_of(config);
  TokenBatch tokens;
  if (calibration) tokens = batch_of(calibration->first, calibration->second);
  CompileOptions options;
  if (pooling) options.pooling = pooling_from_name(*pooling);
  options.normalize = normalize;
  options.threads = threads;
  options.progress = [&](std::size_t done, std::size_t total, const std::string& what) {
    progress_step(progress, done, total, what);
  };
  std::vector<LayerReport> reports;
  {
    const py::gil_scoped_release no_gil;
    reports = compile_encoder(*Checkpoint::open(model_dir), recipe, tokens, options, out_path);
  }
  return report_rows(reports);
}

void bind_encoder(py::module_& m) {
  py::class_<Encoder>(m, "Encoder", "A compiled encoder, run natively. Thread-safe.")
      .def(py::init(
               [](const std::string& path, std::size_t threads) { return load(path, threads); }),
           py::arg("path"), py::arg("threads") = 0, py::call_guard<py::gil_scoped_release>())
      .def("hidden_states", &hidden_states, py::arg("ids"), py::arg("offsets"),
           py::arg("type_ids") = py::none(),
           "Last hidden states, float32 (tokens, hidden); ids int32, offsets (sequences + 1).")
      .def("embed", &embed, py::arg("ids"), py::arg("offsets"), py::arg("type_ids") = py::none(),
           py::arg("pooling") = "mean", py::arg("normalize") = false,
           "Embeddings, float32 (sequences, hidden).")
      .def("encode", &encode, py::arg("texts"), py::arg("normalize") = py::none(),
           "Embeddings of texts with the artifact's own tokenizer, float32 (texts, hidden).")
      .def("explain", &explain_rows, py::arg("rows") = py::none(), py::arg("measure") = false,
           "A dict for each linear: name, scheme, kernel, bytes; with numbers of rows one for each "
           "of "
           "them, and how long the roof of this machine lets it take at least.")
      .def_property_readonly("hidden_size", &Encoder::hidden_size)
      .def_property_readonly("vocab_size", &Encoder::vocab_size)
      .def_property_readonly("max_tokens", &Encoder::max_tokens, "Tokens encode() cuts a text to.")
      .def_property_readonly("max_positions", &Encoder::max_positions,
                             "Tokens a sequence of ids can have.")
      .def_property_readonly("threads", &Encoder::threads)
      .def_property_readonly("pooling",
                             [](const Encoder& self) { return std::string(name(self.pooling())); })
      .def_property_readonly("normalize", &Encoder::normalize)
      .def_property_readonly(
          "metadata", [](const Encoder& self) { return self.artifact().metadata(); }, "JSON text.")
      .def_property_readonly("has_native_tokenizer", &Encoder::has_native_tokenizer);
}

}  // namespace

void bind_nn(py::module_& m) {
  bind_encoder(m);
  m.def(
      "compile_encoder", &compile, py::arg("model_dir"), py::arg("out_path"), py::arg("config"),
      py::arg("calibration") = py::none(), py::arg("pooling") = py::none(),
      py::arg("normalize") = py::none(), py::arg("threads") = 0, py::arg("progress") = py::none(),
      "Quantizes a Hugging Face directory to a .qeff artifact; one report row (dict) a linear.\n\n"
      "config: flat, see quantization_config.hpp. calibration: (ids int32, offsets).\n"
      "progress: callable(done, total, what); what it raises stops the work.");
  m.def("why_not_native", &why_not_native, py::arg("config_json"),
        "Empty if a native encoder exists for this config.json, else the reason.");
}

}  // namespace qeff::python
