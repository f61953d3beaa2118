#include "io/model_file.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "io/check_finite.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/mapped_file.hpp"

namespace qeff {
namespace {

DType plain_dtype(GgmlType type) noexcept {
  if (type == GgmlType::f16) return DType::f16;
  return type == GgmlType::bf16 ? DType::bf16 : DType::f32;
}

/// The rows of each head from the interleaved order to the order of halves.
std::vector<float> halves_order(const std::vector<float>& stored, std::size_t rows,
                                std::size_t heads) {
  std::vector<float> values(stored.size());
  const std::size_t width = stored.size() / rows, head = rows / heads;
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t first = row / head * head, i = row % head;
    const std::size_t target = first + i % 2 * (head / 2) + i / 2;
    std::copy_n(stored.data() + row * width, width, values.data() + target * width);
  }
  return values;
}

class ModelFile final : public CheckpointSource {
 public:
  ModelFile(std::string path, ModelParts parts, std::shared_ptr<const void> owner)
      : path_(std::move(path)), parts_(std::move(parts)), owner_(std::move(owner)) {
    for (const auto& [name, stored] : parts_.tensors) {
      const std::size_t heads = stored.interleaved_heads;
      if (heads != 0 && (stored.shape.front() % heads != 0 || stored.shape.front() / heads % 2))
        throw FormatError(path_, str("tensor '", name, "': its ", stored.shape.front(),
                                     " rows are not those of ", heads, " heads of even size"));
      views_.emplace(name, TensorView{plain_dtype(stored.type), stored.shape, stored.data.data(),
                                      stored.data.size()});
    }
  }

  const std::string& config() const noexcept override { return parts_.config; }
  std::vector<std::string_view> names() const override {
    std::vector<std::string_view> names;
    for (const auto& [name, unused] : parts_.tensors) names.push_back(name);
    return names;
  }
  bool contains(std::string_view name) const noexcept override {
    return parts_.tensors.find(name) != parts_.tensors.end();
  }
  const TensorView& tensor(std::string_view name) const override {
    const ModelTensor& stored = find(name);
    const std::string what = str(path_, ": tensor '", name, "' is ");
    if (info(stored.type).block_elements != 1)
      throw Unsupported(str(what, "stored as ", info(stored.type).name, "; read it as floats()"));
    if (stored.interleaved_heads != 0)
      throw Unsupported(what + "stored with its rows in another order; read it as floats()");
    return views_.find(name)->second;
  }
  std::vector<float> floats(std::string_view name) const override {
    const ModelTensor& stored = find(name);
    const TensorView& view = views_.find(name)->second;
    std::vector<float> values(view.elements());
    dequantize_ggml(stored.type, stored.data, values);
    drop_pages(stored.data);
    check_finite(values, name, view.shape_string(), path_);
    return stored.interleaved_heads == 0
               ? values
               : halves_order(values, stored.shape.front(), stored.interleaved_heads);
  }
  std::vector<std::size_t> shape(std::string_view name) const override { return find(name).shape; }
  StoredTensor stored(std::string_view name) const override {
    const ModelTensor& tensor = find(name);
    return {info(tensor.type).name, tensor.shape, tensor.data.size()};
  }
  std::vector<std::string> files() const override { return {path_}; }
  std::string read_text(const std::string& relative_path) const override {
    if (relative_path == "config.json") return parts_.config;
    const auto found = parts_.texts.find(relative_path);
    return found == parts_.texts.end() ? std::string() : found->second();
  }

 private:
  const ModelTensor& find(std::string_view name) const { return parts_.tensors.find(name)->second; }

  std::string path_;
  ModelParts parts_;
  std::map<std::string_view, TensorView> views_;  // named by the keys of parts_
  std::shared_ptr<const void> owner_;
};

}  // namespace

std::unique_ptr<const CheckpointSource> make_model_file(std::string path, ModelParts parts,
                                                        std::shared_ptr<const void> owner) {
  return std::make_unique<ModelFile>(std::move(path), std::move(parts), std::move(owner));
}

}  // namespace qeff
