#include "qeff/io/gguf.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <set>

#include "io/byte_cursor.hpp"
#include "qeff/core/checked_size.hpp"

namespace qeff {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr std::size_t kDefaultAlignment = 32;
constexpr std::size_t kMaxAlignment = std::size_t{1} << 20;
constexpr std::size_t kMaxNameBytes = 1024;
constexpr std::size_t kMaxKeyBytes = 65535;
constexpr std::uint32_t kMaxDimensions = 4;
constexpr std::uint64_t kMaxDimension = std::uint64_t{1} << 48;
constexpr std::size_t kLeastKeyBytes = 8 + 1 + 4 + 1;
constexpr std::size_t kLeastTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

struct ForeignType {
  std::uint32_t id;
  std::string_view name;
};

/// Valid in the format; qeff cannot read them.
constexpr std::array<ForeignType, 29> kForeignTypes{
    {{6, "Q5_0"},   {7, "Q5_1"},    {9, "Q8_1"},   {10, "Q2_K"},    {11, "Q3_K"},   {12, "Q4_K"},
     {13, "Q5_K"},  {14, "Q6_K"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
     {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"}, {24, "I8"},
     {25, "I16"},   {26, "I32"},    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},  {34, "TQ1_0"},
     {35, "TQ2_0"}, {39, "MXFP4"},  {40, "NVFP4"}, {41, "Q1_0"},    {42, "Q2_0"}}};

/// Bytes of a number or boolean, or 0.
constexpr std::size_t number_bytes(GgufType type) noexcept {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
      return 8;
    default:
      return 0;
  }
}

template <class T>
T load(std::span<const std::byte> bytes) noexcept {
  return load_little_endian<T>(bytes, 0);
}

/// @pre bytes.size() == number_bytes(type)
GgufValue decode_number(GgufType type, std::span<const std::byte> bytes) noexcept {
  switch (type) {
    case GgufType::u8:
      return std::uint64_t{load<std::uint8_t>(bytes)};
    case GgufType::u16:
      return std::uint64_t{load<std::uint16_t>(bytes)};
    case GgufType::u32:
      return std::uint64_t{load<std::uint32_t>(bytes)};
    case GgufType::u64:
      return load<std::uint64_t>(bytes);
    case GgufType::i8:
      return std::int64_t{load<std::int8_t>(bytes)};
    case GgufType::i16:
      return std::int64_t{load<std::int16_t>(bytes)};
    case GgufType::i32:
      return std::int64_t{load<std::int32_t>(bytes)};
    case GgufType::i64:
      return load<std::int64_t>(bytes);
    case GgufType::f32:
      return double{load<float>(bytes)};
    case GgufType::f64:
      return load<double>(bytes);
    default:
      return load<std::uint8_t>(bytes) != 0;
  }
}

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& file)
      : bytes_(bytes), cursor_(bytes, file), file_(file) {}

  GgufTable parse() {
    GgufTable table;
    table.version = header();
    const std::size_t tensors = cursor_.count(1, "the number of tensors");
    const std::size_t keys = cursor_.count(kLeastKeyBytes, "the number of keys");
    for (std::size_t i = 0; i < keys; ++i) add_key(table);
    cursor_.check_count(tensors, kLeastTensorBytes, "the number of tensors", cursor_.offset());
    const std::size_t alignment = data_alignment(table);
    for (std::size_t i = 0; i < tensors; ++i) add_tensor(table, alignment);
    place_data(table, alignment);
    return table;
  }

 private:
  [[noreturn]] void fail(const std::string& what, std::size_t at) const {
    throw FormatError(file_, what, at);
  }

  std::uint32_t header() {
    if (!is_gguf(bytes_)) fail("does not begin with \"GGUF\"", 0);
    (void)cursor_.bytes(kMagic.size(), "the magic");
    const auto version = cursor_.number<std::uint32_t>("the version");
    if (version != 0 && (version & 0xFFFF) == 0)
      throw Unsupported(file_ + ": is a big-endian GGUF file; qeff reads little-endian ones");
    if (version == 1)
      throw Unsupported(file_ + ": is GGUF version 1; convert it again with a current converter");
    if (version != 2 && version != 3) fail(str("GGUF version ", version, " is unknown"), 4);
    return version;
  }

  std::string_view name(std::size_t longest, std::string_view what) {
    const std::size_t at = cursor_.offset();
    const std::string_view text = cursor_.string(what);
    if (text.empty() || text.size() > longest)
      fail(str(what, " has ", text.size(), " bytes, 1 to ", longest, " are allowed"), at);
    if (text.find('\0') != text.npos) fail(str(what, " contains a NUL byte"), at);
    return text;
  }

  void add_key(GgufTable& table) {
    const std::size_t at = cursor_.offset();
    const std::string_view key = name(kMaxKeyBytes, "the name of a key");
    if (table.metadata.contains(key)) fail(str("duplicate key '", key, "'"), at);
    const std::string what = str("key '", key, "'");
    table.metadata.emplace(key, value(value_type(what), what));
  }

  GgufType value_type(const std::string& what) {
    const std::size_t at = cursor_.offset();
    const auto id = cursor_.number<std::uint32_t>(what);
    if (id > static_cast<std::uint32_t>(GgufType::f64))
      fail(str(what, ": unknown value type ", id), at);
    return static_cast<GgufType>(id);
  }

  GgufValue value(GgufType type, const std::string& what) {
    if (type == GgufType::string) return cursor_.string(what);
    if (type == GgufType::array) return array(what);
    const std::size_t at = cursor_.offset();
    const auto bytes = cursor_.bytes(number_bytes(type), what);
    if (type == GgufType::boolean && load<std::uint8_t>(bytes) > 1)
      fail(what + ": a boolean is neither 0 nor 1", at);
    return decode_number(type, bytes);
  }

  GgufValue array(const std::string& what) {
    const std::size_t at = cursor_.offset();
    const GgufType type = value_type(what);
    if (type == GgufType::array) fail(what + ": an array of arrays", at);
    const std::string length = "the length of " + what;
    if (type != GgufType::string) {
      const std::size_t n = cursor_.count(number_bytes(type), length);
      return GgufNumbers(type, cursor_.bytes(n * number_bytes(type), what));
    }
    std::vector<std::string_view> strings(cursor_.count(sizeof(std::uint64_t), length));
    for (std::string_view& text : strings) text = cursor_.string(what);
    return strings;
  }

  std::size_t data_alignment(const GgufTable& table) const {
    const auto found = table.metadata.find("general.alignment");
    if (found == table.metadata.end()) return kDefaultAlignment;
    const auto* alignment = std::get_if<std::uint64_t>(&found->second);
    if (alignment == nullptr || !std::has_single_bit(*alignment) || *alignment > kMaxAlignment)
      throw FormatError(file_,
                        str("key 'general.alignment' is not a power of two up to ", kMaxAlignment));
    return *alignment;
  }

  void add_tensor(GgufTable& table, std::size_t alignment) {
    const std::size_t at = cursor_.offset();
    GgufTensor tensor;
    tensor.name = name(kMaxNameBytes, "the name of a tensor");
    if (!names_.insert(tensor.name).second) fail(str("duplicate tensor '", tensor.name, "'"), at);
    const std::string what = str("tensor '", tensor.name, "'");
    tensor.shape = shape(what);
    tensor.type = tensor_type(what);
    const std::size_t offset_at = cursor_.offset();
    const auto offset = cursor_.number<std::uint64_t>(what);
    if (offset % alignment != 0)
      fail(str(what, " begins at ", offset, " of the data, not a multiple of ", alignment),
           offset_at);
    places_.push_back({offset, data_bytes(tensor, what, at), offset_at, table.tensors.size()});
    table.tensors.push_back(std::move(tensor));
  }

  std::vector<std::size_t> shape(const std::string& what) {
    const std::size_t at = cursor_.offset();
    const auto dimensions = cursor_.number<std::uint32_t>(what);
    if (dimensions == 0 || dimensions > kMaxDimensions)
      fail(str(what, " has ", dimensions, " dimensions, 1 to ", kMaxDimensions, " are allowed"),
           at);
    std::vector<std::size_t> sizes(dimensions);
    for (std::size_t& size : sizes) {
      size = cursor_.number<std::uint64_t>(what);
      if (size == 0 || size > kMaxDimension) fail(str(what, ": a dimension of ", size), at);
    }
    std::reverse(sizes.begin(), sizes.end());
    return sizes;
  }

  GgmlType tensor_type(const std::string& what) {
    const std::size_t at = cursor_.offset();
    const auto id = cursor_.number<std::uint32_t>(what);
    if (const GgmlTypeInfo* known = find_ggml_type(id)) return known->type;
    for (const ForeignType& foreign : kForeignTypes)
      if (foreign.id == id)
        throw Unsupported(str(file_, ": ", what, " is ", foreign.name,
                              "; qeff reads F32, F16, BF16, Q8_0, Q4_0 and Q4_1"));
    fail(str(what, ": unknown type ", id), at);
  }

  std::size_t data_bytes(const GgufTensor& tensor, const std::string& what, std::size_t at) const {
    const GgmlTypeInfo& type = info(tensor.type);
    if (tensor.shape.back() % type.block_elements != 0)
      fail(str(what, ": rows of ", tensor.shape.back(), " are not whole blocks of ", type.name),
           at);
    CheckedSize bytes = CheckedSize(tensor.shape.back() / type.block_elements) * type.block_bytes;
    for (std::size_t i = 0; i + 1 < tensor.shape.size(); ++i) bytes = bytes * tensor.shape[i];
    if (!bytes.valid()) fail(what + ": the size overflows", at);
    return bytes.value();
  }

  struct Place {
    std::size_t offset, bytes, at, tensor;
  };

  void place_data(GgufTable& table, std::size_t alignment) {
    if (places_.empty()) return;
    const CheckedSize begin = CheckedSize(cursor_.offset()).aligned(alignment);
    if (!begin.valid() || begin.value() > bytes_.size())
      fail("the file ends before its data (truncated?)", cursor_.offset());
    const auto data = bytes_.subspan(begin.value());
    std::sort(places_.begin(), places_.end(),
              [](const Place& a, const Place& b) { return a.offset < b.offset; });
    std::size_t free = 0;
    for (const Place& place : places_) {
      GgufTensor& tensor = table.tensors[place.tensor];
      const std::string what = str("tensor '", tensor.name, "'");
      if (place.offset < free) fail(what + " overlaps another one", place.at);
      if (place.offset > data.size() || place.bytes > data.size() - place.offset)
        fail(str(what, " takes ", place.bytes, " bytes at ", place.offset,
                 " of the data, which has ", data.size(), " bytes (truncated?)"),
             place.at);
      tensor.data = data.subspan(place.offset, place.bytes);
      free = place.offset + place.bytes;
    }
  }

  std::span<const std::byte> bytes_;
  ByteCursor cursor_;
  const std::string& file_;
  std::set<std::string_view> names_;
  std::vector<Place> places_;
};

}  // namespace

std::size_t GgufNumbers::size() const noexcept { return bytes_.size() / number_bytes(type_); }

double GgufNumbers::operator[](std::size_t i) const noexcept {
  const std::size_t width = number_bytes(type_);
  const GgufValue value = decode_number(type_, bytes_.subspan(i * width, width));
  if (const auto* natural = std::get_if<std::uint64_t>(&value))
    return static_cast<double>(*natural);
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return static_cast<double>(*integer);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? 1.0 : 0.0;
  return std::get<double>(value);
}

GgufTable parse_gguf(std::span<const std::byte> bytes, const std::string& file) {
  return Parser(bytes, file).parse();
}

bool is_gguf(std::span<const std::byte> bytes) noexcept {
  return bytes.size() >= kMagic.size() &&
         std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

std::shared_ptr<const GgufFile> GgufFile::open(const std::string& path) {
  return std::make_shared<const GgufFile>(MappedFile::open(path));
}

}  // namespace qeff
