#include "qeff/io/safetensors.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "io/json.hpp"
#include "io/little_endian.hpp"
#include "io/tensor_size.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kPrefixBytes = 8;
constexpr std::size_t kMaxHeaderBytes = 100'000'000;
constexpr std::size_t kMaxDepth = 8;

/// Valid in the format, without a meaning in qeff.
constexpr std::array<std::string_view, 5> kForeignDTypes{"C64", "F8_E4M3FNUZ", "F8_E5M2FNUZ",
                                                         "F6_E2M3", "F6_E3M2"};

struct Range {
  std::size_t begin, end;
};

struct Record {
  NamedTensor named;
  Range range;
};

DType parse_dtype(const Json& value, const std::string& file, const std::string& what) {
  const std::string& name = json_string(value, file, what + ": dtype");
  for (const DTypeInfo& entry : kDTypes)
    if (!entry.safetensors.empty() && entry.safetensors == name) return entry.dtype;
  if (std::find(kForeignDTypes.begin(), kForeignDTypes.end(), name) != kForeignDTypes.end())
    throw Unsupported(file + ": " + what + " has dtype " + name + ", which qeff cannot read");
  throw FormatError(file, what + ": unknown dtype \"" + name + "\"");
}

std::vector<std::size_t> parse_shape(const Json& value, const std::string& file,
                                     const std::string& what) {
  if (!value.is_array()) throw FormatError(file, what + ": shape is not an array");
  std::vector<std::size_t> shape;
  for (const Json& dimension : value)
    shape.push_back(json_unsigned(dimension, file, what + ": a dimension of shape"));
  return shape;
}

Range parse_range(const Json& value, const std::string& file, const std::string& what) {
  if (!value.is_array() || value.size() != 2)
    throw FormatError(file, what + ": data_offsets is not a pair");
  const Range range{json_unsigned(value[0], file, what + ": the begin of data_offsets"),
                    json_unsigned(value[1], file, what + ": the end of data_offsets")};
  if (range.end < range.begin)
    throw FormatError(
        file, str(what, ": data_offsets are reversed: [", range.begin, ", ", range.end, "]"));
  return range;
}

void check_bytes(const TensorView& tensor, Range range, const std::string& file,
                 const std::string& what) {
  const auto bits = tensor_bits(tensor.dtype, tensor.shape);
  if (!bits)
    throw FormatError(file, what + ": the size of shape " + tensor.shape_string() + " overflows");
  if (*bits % 8 != 0)
    throw FormatError(file, str(what, ": its ", *bits, " bits are not a whole number of bytes"));
  if (*bits / 8 != range.end - range.begin)
    throw FormatError(
        file, str(what, ": ", info(tensor.dtype).safetensors, " of shape ", tensor.shape_string(),
                  " takes ", *bits / 8, " bytes, data_offsets give ", range.end - range.begin));
}

Record parse_record(const std::string& name, const Json& entry, const std::string& file) {
  const std::string what = "tensor '" + name + "'";
  if (!entry.is_object()) throw FormatError(file, what + " is not a JSON object");
  for (const auto& [key, unused] : entry.items())
    if (key != "dtype" && key != "shape" && key != "data_offsets")
      throw FormatError(file, what + " has the unknown key \"" + key + "\"");
  Record record;
  TensorView& tensor = record.named.tensor;
  record.named.name = name;
  tensor.dtype = parse_dtype(json_member(entry, "dtype", file, what), file, what);
  tensor.shape = parse_shape(json_member(entry, "shape", file, what), file, what);
  record.range = parse_range(json_member(entry, "data_offsets", file, what), file, what);
  check_bytes(tensor, record.range, file, what);
  tensor.nbytes = record.range.end - record.range.begin;
  return record;
}

StringPairs parse_metadata(const Json& value, const std::string& file) {
  if (!value.is_object()) throw FormatError(file, "__metadata__ is not a JSON object");
  StringPairs metadata;
  for (const auto& [key, entry] : value.items())
    metadata.emplace_back(key, json_string(entry, file, "__metadata__ \"" + key + "\""));
  return metadata;
}

std::size_t header_bytes(std::span<const std::byte> bytes, const std::string& file) {
  if (bytes.size() < kPrefixBytes)
    throw FormatError(
        file, str("has ", bytes.size(), " bytes, a safetensors file has at least ", kPrefixBytes));
  const auto size = load_little_endian<std::uint64_t>(bytes, 0);
  if (size > kMaxHeaderBytes)
    throw FormatError(file,
                      str("header of ", size, " bytes, at most ", kMaxHeaderBytes, " allowed"), 0);
  if (size > bytes.size() - kPrefixBytes)
    throw FormatError(
        file, str("header of ", size, " bytes in a file of ", bytes.size(), " bytes (truncated?)"),
        0);
  return size;
}

/// @pre sorted by range
void check_tiling(const std::vector<Record>& records, std::size_t data_bytes,
                  const std::string& file) {
  std::size_t expected = 0;
  for (const auto& [named, range] : records) {
    if (range.begin != expected)
      throw FormatError(
          file, str("tensor '", named.name, "' begins at ", range.begin, " of the data, expected ",
                    expected, range.begin < expected ? " (overlap)" : " (hole)"));
    if (range.end > data_bytes)
      throw FormatError(file, str("tensor '", named.name, "' ends at ", range.end,
                                  " of the data, which has ", data_bytes, " bytes (truncated?)"));
    expected = range.end;
  }
  if (expected != data_bytes)
    throw FormatError(file, str("the tensors end at ", expected, " of the data, which has ",
                                data_bytes, " bytes"));
}

}  // namespace

SafetensorsTable parse_safetensors(std::span<const std::byte> bytes, const std::string& file) {
  const std::size_t size = header_bytes(bytes, file);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kPrefixBytes, size);
  const Json header = parse_json(text, file, {kMaxHeaderBytes, kMaxDepth}, kPrefixBytes);
  if (!header.is_object()) throw FormatError(file, "the header is not a JSON object", kPrefixBytes);

  SafetensorsTable table;
  std::vector<Record> records;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__")
      table.metadata = parse_metadata(entry, file);
    else
      records.push_back(parse_record(name, entry, file));
  }
  std::stable_sort(records.begin(), records.end(), [](const Record& a, const Record& b) {
    return std::pair(a.range.begin, a.range.end) < std::pair(b.range.begin, b.range.end);
  });
  const auto data = bytes.subspan(kPrefixBytes + size);
  check_tiling(records, data.size(), file);
  for (auto& [named, range] : records) {
    named.tensor.data = data.data() + range.begin;
    table.tensors.push_back(std::move(named));
  }
  return table;
}

std::shared_ptr<const SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  return std::shared_ptr<const SafetensorsFile>(new SafetensorsFile(MappedFile::open(path)));
}

}  // namespace qeff
