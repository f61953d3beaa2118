#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "io/little_endian.hpp"
#include "io/tensor_size.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/atomic_file.hpp"
#include "qeff/io/safetensors.hpp"

namespace qeff {
namespace {

using Json = nlohmann::ordered_json;

std::vector<const NamedTensor*> in_file_order(std::span<const NamedTensor> tensors) {
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& named : tensors) order.push_back(&named);
  std::sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    return std::pair(info(b->tensor.dtype).bits, std::string_view(a->name)) <
           std::pair(info(a->tensor.dtype).bits, std::string_view(b->name));
  });
  return order;
}

void check_tensor(const NamedTensor& named) {
  const TensorView& tensor = named.tensor;
  require(!info(tensor.dtype).safetensors.empty(), "write_safetensors: tensor '", named.name,
          "' has dtype ", info(tensor.dtype).name, ", which safetensors does not have");
  require(named.name != "__metadata__",
          "write_safetensors: a tensor cannot be named '__metadata__'");
  const auto bits = tensor_bits(tensor.dtype, tensor.shape);
  require(bits && *bits % 8 == 0 && *bits / 8 == tensor.nbytes, "write_safetensors: tensor '",
          named.name, "' of shape ", tensor.shape_string(), " does not take its ", tensor.nbytes,
          " bytes");
}

std::string header_text(const std::vector<const NamedTensor*>& order, const StringPairs& metadata) {
  Json header = Json::object();
  for (const auto& [key, value] : metadata) header["__metadata__"][key] = value;
  std::size_t offset = 0;
  for (const NamedTensor* named : order) {
    check_tensor(*named);
    require(!header.contains(named->name), "write_safetensors: two tensors are named '",
            named->name, "'");
    const std::size_t end = offset + named->tensor.nbytes;
    header[named->name] = {{"dtype", info(named->tensor.dtype).safetensors},
                           {"shape", Json(named->tensor.shape)},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

void write_safetensors(const std::string& path, std::span<const NamedTensor> tensors,
                       const StringPairs& metadata, std::span<const std::string> inputs) {
  const auto order = in_file_order(tensors);
  const std::string header = header_text(order, metadata);
  std::array<std::byte, 8> prefix;
  store_little_endian<std::uint64_t>(prefix, 0, header.size());
  AtomicFile file(path, inputs);
  file.write(prefix);
  file.write(header);
  for (const NamedTensor* named : order) file.write({named->tensor.data, named->tensor.nbytes});
  file.commit();
}

}  // namespace qeff
