#include "qeff/io/artifact.hpp"

#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <numeric>

#include "io/artifact_layout.hpp"
#include "io/close_names.hpp"
#include "io/json.hpp"
#include "io/little_endian.hpp"
#include "io/tensor_size.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/mapped_file.hpp"

namespace qeff {
namespace {

using Json = nlohmann::json;
namespace layout = artifact_layout;

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

/// Magic, version and zeros of the first 64 bytes.
void check_prefix(std::span<const std::byte> bytes, const std::string& file) {
  const std::size_t magic_bytes = layout::kMagic.size();
  if (bytes.size() < magic_bytes ||
      std::memcmp(bytes.data(), layout::kMagic.data(), magic_bytes) != 0)
    throw FormatError(file, "is not a qeff artifact (wrong magic)", 0);
  if (bytes.size() < layout::kPrefixBytes)
    throw FormatError(file, str("has ", bytes.size(), " bytes, an artifact has at least ",
                                layout::kPrefixBytes, " (truncated?)"));
  const auto version = load_little_endian<std::uint32_t>(bytes, layout::kVersion);
  if (version == 0) throw FormatError(file, "version 0 does not exist", layout::kVersion);
  if (version > kArtifactVersion)
    throw Unsupported(str(file, ": artifact version ", version, ", this qeff reads up to version ",
                          kArtifactVersion, "; update qeff or compile the model again"));
  if (load_little_endian<std::uint32_t>(bytes, layout::kReserved) != 0)
    throw FormatError(file, "reserved bytes are not zero", layout::kReserved);
  if (!all_zero(bytes.subspan(layout::kReservedTail, layout::kPrefixBytes - layout::kReservedTail)))
    throw FormatError(file, "reserved bytes are not zero", layout::kReservedTail);
}

/// The header's text, its checksum verified.
std::string_view header_text(std::span<const std::byte> bytes, const std::string& file) {
  const auto file_bytes = load_little_endian<std::uint64_t>(bytes, layout::kFileBytes);
  if (file_bytes != bytes.size())
    throw FormatError(file,
                      str("should have ", file_bytes, " bytes and has ", bytes.size(),
                          bytes.size() < file_bytes ? " (truncated)" : " (trailing bytes)"),
                      layout::kFileBytes);
  const auto size = load_little_endian<std::uint64_t>(bytes, layout::kHeaderBytes);
  if (size > layout::kMaxHeaderBytes || size > bytes.size() - layout::kPrefixBytes ||
      size % layout::kAlignment != 0)
    throw FormatError(file, str("header of ", size, " bytes in a file of ", bytes.size(), " bytes"),
                      layout::kHeaderBytes);
  const auto header = bytes.subspan(layout::kPrefixBytes, size);
  if (XXH3_64bits(header.data(), size) !=
      load_little_endian<std::uint64_t>(bytes, layout::kHeaderHash))
    throw FormatError(file, "the header is damaged (checksum does not match)",
                      layout::kPrefixBytes);
  return {reinterpret_cast<const char*>(header.data()), size};
}

std::uint64_t parse_hash(const Json& value, const std::string& file, const std::string& what) {
  const std::string& text = json_string(value, file, what + ": xxh3");
  std::uint64_t hash = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), hash, 16);
  if (text.size() != 16 || code != std::errc{} || end != text.data() + text.size())
    throw FormatError(file, what + ": xxh3 is not 16 hexadecimal digits");
  return hash;
}

TensorView parse_tensor(const Json& entry, const std::string& file, const std::string& what) {
  TensorView tensor;
  const std::string& dtype =
      json_string(json_member(entry, "dtype", file, what), file, what + ": dtype");
  const auto known = dtype_from_name(dtype);
  if (!known || info(*known).name != dtype)
    throw FormatError(file, what + ": unknown dtype \"" + dtype + "\"");
  tensor.dtype = *known;
  const Json& shape = json_member(entry, "shape", file, what);
  if (!shape.is_array()) throw FormatError(file, what + ": shape is not an array");
  for (const Json& dimension : shape)
    tensor.shape.push_back(json_unsigned(dimension, file, what + ": a dimension of shape"));
  tensor.nbytes = json_unsigned(json_member(entry, "nbytes", file, what), file, what + ": nbytes");
  const auto expected = tensor_bytes(tensor.dtype, tensor.shape);
  if (!expected)
    throw FormatError(file, what + ": the size of shape " + tensor.shape_string() + " overflows");
  if (*expected != tensor.nbytes)
    throw FormatError(file, str(what, ": ", dtype, " of shape ", tensor.shape_string(), " takes ",
                                *expected, " bytes, the header says ", tensor.nbytes));
  return tensor;
}

/// @param end  In: where the entry before ends; out: where this one ends.
void place_tensor(TensorView& tensor, const Json& entry, std::span<const std::byte> bytes,
                  std::size_t& end, const std::string& file, const std::string& what) {
  const auto offset =
      json_unsigned(json_member(entry, "offset", file, what), file, what + ": offset");
  const std::size_t expected =
      round_up(end, layout::kAlignment);  // end <= bytes.size(): no overflow
  if (offset != expected)
    throw FormatError(file, str(what, " is at ", offset, ", expected ", expected));
  if (offset > bytes.size() || tensor.nbytes > bytes.size() - offset)
    throw FormatError(file, str(what, " of ", tensor.nbytes, " bytes at ", offset,
                                " ends outside of the file of ", bytes.size(), " bytes"));
  if (!all_zero(bytes.subspan(end, offset - end)))
    throw FormatError(file, "padding before " + what + " is not zero", end);
  tensor.data = bytes.data() + offset;
  end = offset + tensor.nbytes;
}

std::vector<Artifact::Entry> parse_entries(const Json& header, std::span<const std::byte> bytes,
                                           std::size_t end, const std::string& file) {
  const Json& list = json_member(header, "entries", file, "the header");
  if (!list.is_array()) throw FormatError(file, "the header's \"entries\" is not an array");
  std::vector<Artifact::Entry> entries;
  for (const Json& item : list) {
    std::string what = "entry " + std::to_string(entries.size());
    const std::string& name =
        json_string(json_member(item, "name", file, what), file, what + ": name");
    what = "entry '" + name + "'";
    TensorView tensor = parse_tensor(item, file, what);
    place_tensor(tensor, item, bytes, end, file, what);
    const auto hash = parse_hash(json_member(item, "xxh3", file, what), file, what);
    entries.push_back({name, std::move(tensor), hash});
  }
  if (end != bytes.size())
    throw FormatError(file, str("the entries end at ", end, ", the file at ", bytes.size()), end);
  return entries;
}

/// Hashes through the mapping without letting it become resident.
void verify_entry(const Artifact::Entry& entry, const MappedFile& file) {
  constexpr std::size_t kChunk = std::size_t{1} << 20;
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  for (std::size_t done = 0; done < entry.tensor.nbytes; done += kChunk) {
    const std::size_t size = std::min(kChunk, entry.tensor.nbytes - done);
    XXH3_64bits_update(&state, entry.tensor.data + done, size);
    drop_pages({entry.tensor.data + done, size});
  }
  if (XXH3_64bits_digest(&state) != entry.xxh3)
    throw FormatError(file.path(),
                      "entry '" + entry.name + "' is damaged (checksum does not match)",
                      static_cast<std::size_t>(entry.tensor.data - file.bytes().data()));
}

}  // namespace

Artifact::Artifact() = default;
Artifact::~Artifact() = default;

std::shared_ptr<const Artifact> Artifact::open(const std::string& path, bool verify) {
  const std::shared_ptr<Artifact> artifact(new Artifact());
  artifact->path_ = path;
  artifact->file_ = std::make_unique<MappedFile>(MappedFile::open(path));
  const auto bytes = artifact->file_->bytes();
  check_prefix(bytes, path);
  const std::string_view text = header_text(bytes, path);
  const Json header = parse_json(text, path, {layout::kMaxHeaderBytes}, layout::kPrefixBytes);
  const Json& metadata = json_member(header, "metadata", path, "the header");
  if (!metadata.is_object()) throw FormatError(path, "the header's \"metadata\" is not an object");
  artifact->metadata_ = metadata.dump();
  auto& entries = artifact->entries_;
  entries = parse_entries(header, bytes, layout::kPrefixBytes + text.size(), path);

  auto& order = artifact->by_name_;
  order.resize(entries.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return entries[a].name < entries[b].name; });
  for (std::size_t i = 1; i < order.size(); ++i)
    if (entries[order[i - 1]].name == entries[order[i]].name)
      throw FormatError(path, "two entries are named '" + entries[order[i]].name + "'");
  if (verify)
    for (const Entry& entry : entries) verify_entry(entry, *artifact->file_);
  return artifact;
}

std::size_t Artifact::file_bytes() const noexcept { return file_->bytes().size(); }

const Artifact::Entry* Artifact::find(std::string_view name) const noexcept {
  const auto found =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [&](std::size_t i, std::string_view key) { return entries_[i].name < key; });
  return found != by_name_.end() && entries_[*found].name == name ? &entries_[*found] : nullptr;
}

bool Artifact::contains(std::string_view name) const noexcept { return find(name) != nullptr; }

const TensorView& Artifact::tensor(std::string_view name) const {
  if (const Entry* entry = find(name)) return entry->tensor;
  std::vector<std::string_view> names;
  for (const Entry& entry : entries_) names.push_back(entry.name);
  throw FormatError(path_, str("has no entry '", name, "'", close_names(name, names)));
}

}  // namespace qeff
