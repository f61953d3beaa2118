#include "nn/linear_artifact.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "nn/metadata_reader.hpp"
#include "qeff/kernels/explain.hpp"

namespace qeff::nn {
namespace {

using Json = nlohmann::ordered_json;
using kernels::Activations;
using kernels::PackedView;
using kernels::WeightFormat;

constexpr std::array<std::string_view, 8> kFormats{"i8",   "u8",   "u4",   "cb4",
                                                   "e4m3", "e5m2", "bf16", "f32"};
constexpr std::array<std::string_view, 3> kActivations{"int8", "bf16", "f32"};

/// Whether some kernel exists for this pair; an artifact may not ask for another.
bool runnable(const PackedView& w) {
  switch (w.activations) {
    case Activations::int8:
      return (w.format == WeightFormat::i8 || w.format == WeightFormat::u4 ||
              w.format == WeightFormat::cb4) &&
             (w.group_size == w.k || w.group_size % 4 == 0);
    case Activations::f32:
      return w.format == WeightFormat::f32;
    case Activations::bf16:
      return w.format != WeightFormat::f32;
  }
  return false;
}

LinearInfo read_info(const MetadataReader& r) {
  LinearInfo linear;
  linear.name = r.text("name");
  linear.scheme = r.text("scheme");
  PackedView& w = linear.weights;
  w.format = r.one_of<WeightFormat>("format", kFormats);
  w.activations = r.one_of<Activations>("activations", kActivations);
  w.n = r.size("n");
  w.k = r.size("k");
  w.group_size = r.size("group_size");
  if (w.group_size > w.k) r.fail(fmt::format("has groups of {} in rows of {}", w.group_size, w.k));
  if (!runnable(w))
    r.fail(fmt::format("asks for {} weights in groups of {} with {} activations",
                       kFormats[static_cast<std::size_t>(w.format)], w.group_size,
                       kActivations[static_cast<std::size_t>(w.activations)]));
  return linear;
}

void check_code_bytes(const Entries& entries, const std::string& name, const PackedView& w) {
  // 2^31 features at most on either side, 4 bytes each: 2^64 can be passed, the product is checked.
  const CheckedSize bytes = CheckedSize(w.panels()) * kernels::panel_bytes(w.format, w.k_padded());
  const CheckedSize scales = CheckedSize(w.n_padded()) * w.groups();
  if (!bytes.valid() || !scales.valid())
    throw FormatError(entries.file(),
                      fmt::format("\"{}\" of {} x {} is too large", name, w.n, w.k));
}

void read_scales(const Entries& entries, const std::string& name, PackedView& w) {
  if (w.groups() > 1 && entries.dtype(name) == DType::bf16)
    w.bf16_scales = entries.bf16s(name, w.scale_count());
  else
    w.scales = entries.floats(name, w.scale_count());
}

Linear read_linear(const Entries& entries, const LinearInfo& info, Bias bias) {
  Linear linear{info.name, info.weights, nullptr};
  PackedView& w = linear.weights;
  const std::string& name = info.name;
  check_code_bytes(entries, name, w);
  w.codes = entries.bytes(name + ".codes", w.code_bytes());
  if (w.format != WeightFormat::bf16 && w.format != WeightFormat::f32)
    read_scales(entries, name + ".scales", w);
  if (w.format == WeightFormat::u8 || w.format == WeightFormat::u4)
    w.zero_points = reinterpret_cast<const std::uint8_t*>(
        entries.bytes(name + ".zero_points", w.scale_count()));
  if (w.format == WeightFormat::cb4)
    w.codebook = entries.floats(name + ".codebook", kernels::kPanel);
  if (entries.contains(name + ".input_scale"))
    w.input_scale = entries.floats(name + ".input_scale", w.k_padded());
  if (bias == Bias::required || entries.contains(name + ".bias"))
    linear.bias = entries.floats(name + ".bias", w.n);
  return linear;
}

}  // namespace

std::string scheme_name(const PackedView& w) {
  const std::string_view format = kFormats[static_cast<std::size_t>(w.format)];
  if (!w.has_scales() || w.group_size >= w.k) return std::string(format);
  return fmt::format("{} g{}", format, w.group_size);
}

std::string layer_entry(std::size_t layer, std::string_view part) {
  return fmt::format("layers.{}.{}", layer, part);
}

std::size_t stored_bytes(const PackedView& w) noexcept {
  return weight_bytes(w) + (w.input_scale ? w.k_padded() * sizeof(float) : 0);
}

double stored_bits(const PackedView& w) noexcept {
  return 8 * static_cast<double>(stored_bytes(w)) / static_cast<double>(w.n * w.k);
}

Json to_json(const LinearInfo& linear) {
  const PackedView& w = linear.weights;
  return {{"name", linear.name},
          {"scheme", linear.scheme},
          {"format", kFormats[static_cast<std::size_t>(w.format)]},
          {"activations", kActivations[static_cast<std::size_t>(w.activations)]},
          {"n", w.n},
          {"k", w.k},
          {"group_size", w.group_size}};
}

std::vector<LinearInfo> read_linear_infos(const MetadataReader& metadata) {
  const Json& linears = metadata.at("linears");
  if (!linears.is_array()) metadata.fail("\"linears\" is not an array");
  std::vector<LinearInfo> infos;
  for (std::size_t i = 0; i < linears.size(); ++i)
    infos.push_back(read_info(metadata.inside(linears[i], fmt::format("\"linears\"[{}]", i))));
  return infos;
}

const std::byte* Entries::array(const std::string& name, DType dtype, CheckedSize count,
                                std::size_t width) const {
  const TensorView& tensor = artifact_.tensor(name);
  const CheckedSize bytes = count * width;
  if (tensor.dtype != dtype || !bytes.valid() || tensor.nbytes != bytes.value())
    throw FormatError(
        artifact_.path(),
        fmt::format("entry \"{}\" is {} {} of {} bytes; the model needs {} values of {}", name,
                    info(tensor.dtype).name, tensor.shape_string(), tensor.nbytes,
                    count.get().value_or(0), info(dtype).name));
  return tensor.data;
}

const float* Entries::floats(const std::string& name, CheckedSize count) const {
  return reinterpret_cast<const float*>(array(name, DType::f32, count, sizeof(float)));
}
const std::uint16_t* Entries::bf16s(const std::string& name, CheckedSize count) const {
  return reinterpret_cast<const std::uint16_t*>(array(name, DType::bf16, count, sizeof(std::uint16_t)));
}
const std::byte* Entries::bytes(const std::string& name, CheckedSize count) const {
  return array(name, DType::u8, count, 1);
}
const std::int8_t* Entries::codes(const std::string& name, CheckedSize count) const {
  return reinterpret_cast<const std::int8_t*>(array(name, DType::i8, count, 1));
}

Linear find_linear(const Entries& entries, std::span<const LinearInfo> infos,
                   const std::string& name, std::size_t n, std::size_t k, Bias bias) {
  const auto it = std::ranges::find(infos, name, &LinearInfo::name);
  if (it == infos.end())
    throw FormatError(entries.file(), fmt::format("metadata: \"linears\" has no \"{}\"", name));
  if (it->weights.n != n || it->weights.k != k)
    throw FormatError(entries.file(), fmt::format("\"{}\" is {} x {}; the model needs {} x {}", name,
                                                  it->weights.n, it->weights.k, n, k));
  return read_linear(entries, *it, bias);
}

void add_floats(ArtifactWriter& writer, const std::string& name, const float* values,
                std::vector<std::size_t> shape) {
  std::size_t count = 1;
  for (const std::size_t d : shape) count *= d;
  writer.add(name, DType::f32, std::move(shape), std::as_bytes(std::span(values, count)));
}

void add_linear(ArtifactWriter& writer, const std::string& name, const PackedView& w,
                std::span<const float> bias) {
  writer.add(name + ".codes", DType::u8, {w.code_bytes()}, {w.codes, w.code_bytes()});
  if (w.scales) add_floats(writer, name + ".scales", w.scales, {w.scale_count()});
  if (w.bf16_scales)
    writer.add(name + ".scales", DType::bf16, {w.scale_count()}, std::as_bytes(std::span(w.bf16_scales, w.scale_count())));
  if (w.zero_points)
    writer.add(name + ".zero_points", DType::u8, {w.scale_count()},
               std::as_bytes(std::span(w.zero_points, w.scale_count())));
  if (w.codebook) add_floats(writer, name + ".codebook", w.codebook, {kernels::kPanel});
  if (w.input_scale) add_floats(writer, name + ".input_scale", w.input_scale, {w.k_padded()});
  if (!bias.empty()) add_floats(writer, name + ".bias", bias.data(), {w.n});
}

}  // namespace qeff::nn
