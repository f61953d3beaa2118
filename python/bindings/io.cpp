/// @file
/// Python face of io/: checkpoints, safetensors and artifacts. Arrays are views of the mapped file.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "qeff/io/artifact.hpp"
#include "qeff/io/checkpoint.hpp"
#include "qeff/io/mapped_file.hpp"
#include "qeff/io/safetensors.hpp"
#include "tensor_array.hpp"

namespace py = pybind11;

namespace qeff::python {

void bind_io(py::module_& m);

namespace {

/// pybind11 holds pointers to non-const; what they point to has no mutable members.
template <class T>
std::shared_ptr<T> mutable_pointer(std::shared_ptr<const T> pointer) {
  return std::const_pointer_cast<T>(std::move(pointer));
}

py::dict describe(const TensorView& tensor) {
  py::dict row;
  row["dtype"] = info(tensor.dtype).name;
  row["shape"] = py::tuple(py::cast(tensor.shape));
  row["nbytes"] = tensor.nbytes;
  return row;
}

py::list artifact_entries(const Artifact& artifact) {
  py::list rows;
  for (const Artifact::Entry& entry : artifact.entries()) {
    py::dict row = describe(entry.tensor);
    row["name"] = entry.name;
    row["xxh3"] = entry.xxh3;
    rows.append(row);
  }
  return rows;
}

void bind_artifact(py::module_& m) {
  py::class_<Artifact, std::shared_ptr<Artifact>>(m, "Artifact", "An opened .qeff file; immutable.")
      .def_static(
          "open",
          [](const std::string& path, bool verify) {
            return mutable_pointer(Artifact::open(path, verify));
          },
          py::arg("path"), py::arg("verify") = true, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("path", &Artifact::path)
      .def_property_readonly("metadata", &Artifact::metadata, "Text of one JSON object.")
      .def_property_readonly("file_bytes", &Artifact::file_bytes)
      .def_property_readonly("entries", &artifact_entries,
                             "name, dtype, shape, nbytes, xxh3 of each entry.")
      .def("__contains__", &Artifact::contains)
      .def(
          "tensor",
          [](const py::object& self, const std::string& name) {
            return borrow_array(self.cast<const Artifact&>().tensor(name), self);
          },
          py::arg("name"), "A read-only array on the mapped file; it keeps the artifact open.");
}

void write_artifact(const std::string& path, const std::string& metadata_json,
                    const py::dict& tensors, const std::vector<std::string>& inputs) {
  ArtifactWriter writer(metadata_json);
  std::vector<py::array> alive;
  for (const auto& [key, value] : tensors) {
    const auto name = key.cast<std::string>();
    const py::array& array = alive.emplace_back(py::cast<py::array>(value));
    TensorView view = view_array(name, array);
    writer.add(name, view.dtype, std::move(view.shape), {view.data, view.nbytes});
  }
  const py::gil_scoped_release release;
  writer.write(path, inputs);
}

py::dict read_safetensors_header(const std::string& path) {
  std::shared_ptr<const SafetensorsFile> file;
  {
    const py::gil_scoped_release release;
    file = SafetensorsFile::open(path);
  }
  py::dict metadata, tensors, result;
  for (const auto& [key, value] : file->metadata()) metadata[py::str(key)] = value;
  for (const NamedTensor& named : file->tensors()) {
    py::dict row = describe(named.tensor);
    row["offset"] = file->offset(named.tensor);
    tensors[py::str(named.name)] = row;
  }
  result["metadata"] = metadata;
  result["tensors"] = tensors;
  return result;
}

py::array_t<float> checkpoint_floats(const Checkpoint& checkpoint, const std::string& name) {
  const std::vector<std::size_t> sizes = checkpoint.shape(name);
  std::unique_ptr<std::vector<float>> values;
  {
    const py::gil_scoped_release release;
    values = std::make_unique<std::vector<float>>(checkpoint.floats(name));
  }
  const float* data = values->data();
  const py::capsule owner(values.get(),
                          [](void* memory) { delete static_cast<std::vector<float>*>(memory); });
  (void)values.release();
  return py::array_t<float>(std::vector<py::ssize_t>(sizes.begin(), sizes.end()), data, owner);
}

/// @param tensors  name -> (array, name of its dtype), as Checkpoint.tensor() gives them.
void write_safetensors_file(const std::string& path, const py::dict& tensors,
                            const StringPairs& metadata, const std::vector<std::string>& inputs) {
  std::vector<py::array> alive;
  std::vector<NamedTensor> named;
  for (const auto& [key, value] : tensors) {
    const auto name = key.cast<std::string>();
    const auto [array, dtype_name] = value.cast<std::pair<py::array, std::string>>();
    TensorView view = view_array(name, alive.emplace_back(array));
    const auto dtype = dtype_from_name(dtype_name);
    require(dtype && info(*dtype).bits == info(view.dtype).bits, "tensor '", name,
            "': ", info(view.dtype).name, " does not hold ", dtype_name);
    view.dtype = *dtype;
    named.push_back({name, std::move(view)});
  }
  const py::gil_scoped_release release;
  write_safetensors(path, named, metadata, inputs);
}

void bind_checkpoint(py::module_& m) {
  using Class = py::class_<Checkpoint, std::shared_ptr<Checkpoint>>;
  Class(m, "Checkpoint", "A Hugging Face directory, a GGUF or a llama2.c file; immutable.")
      .def_static(
          "open", [](const std::string& path) { return mutable_pointer(Checkpoint::open(path)); },
          py::arg("path"), py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("directory", &Checkpoint::directory)
      .def_property_readonly("config", &Checkpoint::config, "Text of config.json.")
      .def("names", &Checkpoint::names)
      .def("files", &Checkpoint::files, "Paths of the weight files.")
      .def("__contains__", &Checkpoint::contains)
      .def("read_text", &Checkpoint::read_text, py::arg("relative_path"))
      .def(
          "describe",
          [](const Checkpoint& self, const std::string& name) {
            const StoredTensor stored = self.stored(name);
            py::dict row;
            row["dtype"] = stored.type;
            row["shape"] = py::tuple(py::cast(stored.shape));
            row["nbytes"] = stored.bytes;
            return row;
          },
          py::arg("name"), "dtype, shape and nbytes of one tensor as it is stored.")
      .def(
          "tensor",
          [](const py::object& self, const std::string& name) {
            const TensorView& tensor = self.cast<const Checkpoint&>().tensor(name);
            return py::make_tuple(borrow_array(tensor, self), info(tensor.dtype).name);
          },
          py::arg("name"), "(read-only array on the mapped file, name of its dtype).")
      .def(
          "shape",
          [](const Checkpoint& self, const std::string& name) {
            return py::tuple(py::cast(self.shape(name)));
          },
          py::arg("name"), "Sizes of floats(name): (out, in) of a projection.")
      .def("floats", &checkpoint_floats, py::arg("name"),
           "The tensor as float32, whatever it is stored as; NaN and Inf are refused.");
}

}  // namespace

void bind_io(py::module_& m) {
  bind_artifact(m);
  bind_checkpoint(m);
  m.def("write_artifact", &write_artifact, py::arg("path"), py::arg("metadata_json"),
        py::arg("tensors"), py::arg("inputs") = std::vector<std::string>{},
        "Writes a .qeff file atomically.");
  m.def("write_safetensors", &write_safetensors_file, py::arg("path"), py::arg("tensors"),
        py::arg("metadata") = StringPairs{}, py::arg("inputs") = std::vector<std::string>{},
        "Writes a safetensors file atomically: name -> (array, name of its dtype).");
  m.def("read_safetensors_header", &read_safetensors_header, py::arg("path"),
        "Metadata and tensors of a validated safetensors file.");
  m.def("same_file", &same_file, py::arg("a"), py::arg("b"),
        "Whether both paths name one existing file.");
}

}  // namespace qeff::python
