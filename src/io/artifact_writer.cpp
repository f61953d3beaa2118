#include <xxhash.h>

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "io/artifact_layout.hpp"
#include "io/json.hpp"
#include "io/little_endian.hpp"
#include "io/tensor_size.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/artifact.hpp"

namespace qeff {

using Json = nlohmann::json;
namespace layout = artifact_layout;

struct ArtifactWriter::Pending {
  std::string name;
  DType dtype;
  std::vector<std::size_t> shape;
  std::span<const std::byte> bytes;
};

ArtifactWriter::ArtifactWriter(std::string metadata_json) : metadata_(std::move(metadata_json)) {
  if (!parse_json(metadata_, "artifact metadata").is_object())
    throw FormatError("artifact metadata", "is not a JSON object");
}

ArtifactWriter::~ArtifactWriter() = default;

void ArtifactWriter::add(std::string name, DType dtype, std::vector<std::size_t> shape,
                         std::span<const std::byte> bytes) {
  const TensorView view{dtype, shape, bytes.data(), bytes.size()};
  require(tensor_bytes(dtype, shape) == bytes.size(), "artifact entry '", name,
          "': ", info(dtype).name, " of shape ", view.shape_string(), " does not take ",
          bytes.size(), " bytes");
  for (const Pending& entry : entries_)
    require(entry.name != name, "artifact entry '", name, "' is added twice");
  entries_.push_back({std::move(name), dtype, std::move(shape), bytes});
}

namespace {

/// The header depends on the offsets, which depend on its size: offsets are counted from the first
/// entry first, then the header is grown until it holds the shifted ones.
template <class Entries>
std::string header_text(const std::string& metadata, const Entries& entries) {
  Json header{{"metadata", Json::parse(metadata)}, {"entries", Json::array()}};
  std::size_t offset = 0;
  for (const auto& entry : entries) {
    offset = round_up(offset, layout::kAlignment);
    const auto hash = XXH3_64bits(entry.bytes.data(), entry.bytes.size());
    header["entries"].push_back({{"name", entry.name},
                                 {"dtype", info(entry.dtype).name},
                                 {"shape", Json(entry.shape)},
                                 {"offset", offset},
                                 {"nbytes", entry.bytes.size()},
                                 {"xxh3", fmt::format("{:016x}", hash)}});
    offset += entry.bytes.size();
  }
  const Json relative = header["entries"];
  std::size_t size = 0;
  for (std::string text = header.dump();; text = header.dump()) {
    if (text.size() <= size) return text.append(size - text.size(), ' ');
    size = round_up(text.size(), layout::kAlignment);
    for (std::size_t i = 0; i < relative.size(); ++i)
      header["entries"][i]["offset"] =
          relative[i]["offset"].template get<std::size_t>() + layout::kPrefixBytes + size;
  }
}

std::array<std::byte, layout::kPrefixBytes> prefix(const std::string& header,
                                                   std::size_t file_bytes) {
  std::array<std::byte, layout::kPrefixBytes> bytes{};
  const auto magic = std::as_bytes(std::span(layout::kMagic));
  std::copy(magic.begin(), magic.end(), bytes.begin());
  store_little_endian<std::uint32_t>(bytes, layout::kVersion, kArtifactVersion);
  store_little_endian<std::uint64_t>(bytes, layout::kHeaderBytes, header.size());
  store_little_endian<std::uint64_t>(bytes, layout::kHeaderHash,
                                     XXH3_64bits(header.data(), header.size()));
  store_little_endian<std::uint64_t>(bytes, layout::kFileBytes, file_bytes);
  return bytes;
}

}  // namespace

void ArtifactWriter::write(const std::string& path, std::span<const std::string> inputs,
                           Durability durability) const {
  static constexpr std::array<std::byte, layout::kAlignment> kZeros{};
  AtomicFile file(path, inputs);
  const std::string header = header_text(metadata_, entries_);
  require(header.size() <= layout::kMaxHeaderBytes, "artifact '", path, "': a header of ",
          header.size(), " bytes, at most ", layout::kMaxHeaderBytes, " allowed");
  std::size_t end = layout::kPrefixBytes + header.size();
  for (const Pending& entry : entries_)
    end = round_up(end, layout::kAlignment) + entry.bytes.size();
  file.write(prefix(header, end));
  file.write(header);
  std::size_t at = layout::kPrefixBytes + header.size();
  for (const Pending& entry : entries_) {
    const std::size_t begin = round_up(at, layout::kAlignment);
    file.write({kZeros.data(), begin - at});
    file.write(entry.bytes);
    at = begin + entry.bytes.size();
  }
  file.commit(durability);
}

}  // namespace qeff
