/// @file
/// Packed linears in a `.qeff` artifact, for every kind of model:
///
///     <name>.codes u8, .scales f32 or bf16, .zero_points u8, .codebook f32, .input_scale f32: see
///     packed_weights.hpp; .bias f32 (n)
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nn/linear.hpp"
#include "qeff/core/checked_size.hpp"
#include "qeff/io/artifact.hpp"

namespace qeff::nn {

class MetadataReader;

/// One packed linear, as the metadata describes it.
struct LinearInfo {
  std::string name;             ///< "layers.0.qkv"
  std::string scheme;           ///< For people: "i8", "u4 g128"
  kernels::PackedView weights;  ///< Format, activations and sizes; no pointers.
};

/// "i8", "u4 g128", "e4m3 b128": format and group.
[[nodiscard]] std::string scheme_name(const kernels::PackedView& weights);

/// "layers.<layer>.<part>"
[[nodiscard]] std::string layer_entry(std::size_t layer, std::string_view part);

/// Of the codes, scales, zero points and scales of inputs, with their padding, but not the bias.
[[nodiscard]] std::size_t stored_bytes(const kernels::PackedView& weights) noexcept;
/// The same a weight.
[[nodiscard]] double stored_bits(const kernels::PackedView& weights) noexcept;

[[nodiscard]] nlohmann::ordered_json to_json(const LinearInfo& linear);
/// The field "linears" of the metadata. @throws FormatError
[[nodiscard]] std::vector<LinearInfo> read_linear_infos(const MetadataReader& metadata);

/// Entries of an artifact as plain arrays of a known length.
class Entries {
 public:
  explicit Entries(const Artifact& artifact) : artifact_(artifact) {}

  /// @throws FormatError naming the entry: missing, of another type or length.
  [[nodiscard]] const float* floats(const std::string& name, CheckedSize count) const;
  [[nodiscard]] const std::uint16_t* bf16s(const std::string& name, CheckedSize count) const;
  [[nodiscard]] const std::byte* bytes(const std::string& name, CheckedSize count) const;
  [[nodiscard]] const std::int8_t* codes(const std::string& name, CheckedSize count) const;
  /// @throws FormatError if there is none.
  [[nodiscard]] DType dtype(const std::string& name) const { return artifact_.tensor(name).dtype; }
  [[nodiscard]] bool contains(const std::string& name) const { return artifact_.contains(name); }
  [[nodiscard]] const std::string& file() const { return artifact_.path(); }

 private:
  [[nodiscard]] const std::byte* array(const std::string& name, DType dtype, CheckedSize count,
                                       std::size_t width) const;
  const Artifact& artifact_;
};

enum class Bias { required, optional };

/// The linear called `name`, borrowed from the mapping, checked to be (n, k).
/// @throws FormatError naming artifact and entry.
[[nodiscard]] Linear find_linear(const Entries& entries, std::span<const LinearInfo> infos,
                                 const std::string& name, std::size_t n, std::size_t k, Bias bias);

void add_floats(ArtifactWriter& writer, const std::string& name, const float* values,
                std::vector<std::size_t> shape);
/// @param bias  (n), or empty.
void add_linear(ArtifactWriter& writer, const std::string& name, const kernels::PackedView& weights,
                std::span<const float> bias);

}  // namespace qeff::nn
