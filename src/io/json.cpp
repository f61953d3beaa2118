#include "io/json.hpp"

#include <iterator>
#include <utility>
#include <vector>

#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using Json = nlohmann::json;

/// Reads chars and leaves its position where the event handler can see it.
class TrackedIterator {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TrackedIterator() = default;
  TrackedIterator(const char* at, const char** seen) : at_(at), seen_(seen) {}
  reference operator*() const { return *at_; }
  TrackedIterator& operator++() {
    *seen_ = ++at_;
    return *this;
  }
  TrackedIterator operator++(int) {
    TrackedIterator old = *this;
    ++*this;
    return old;
  }
  friend bool operator==(const TrackedIterator& a, const TrackedIterator& b) {
    return a.at_ == b.at_;
  }
  friend bool operator!=(const TrackedIterator& a, const TrackedIterator& b) { return !(a == b); }

 private:
  const char* at_ = nullptr;
  const char** seen_ = nullptr;
};

/// SAX events into a document, refusing what the limits forbid.
class Builder {
 public:
  Builder(std::string_view text, const std::string& file, std::size_t max_depth, std::size_t offset)
      : seen(text.data()),
        begin_(text.data()),
        file_(file),
        max_depth_(max_depth),
        offset_(offset) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(Json::number_integer_t value) { return add(value); }
  bool number_unsigned(Json::number_unsigned_t value) { return add(value); }
  bool number_float(Json::number_float_t value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(Json::binary_t&) { return fail("binary value in JSON"); }
  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    const auto [position, fresh] = open_.back()->get_ref<Json::object_t&>().try_emplace(name);
    if (!fresh) return fail("duplicate key \"" + name + "\"");
    slot_ = &position->second;
    return true;
  }
  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::detail::exception&) {
    throw FormatError(file_, "invalid JSON near '" + printable(token) + "'",
                      offset_ + (position > 0 ? position - 1 : 0));
  }

  const char* seen;
  Json document;

 private:
  bool fail(const std::string& what) {
    throw FormatError(file_, what, offset_ + static_cast<std::size_t>(seen - begin_));
  }
  static std::string printable(const std::string& token) {
    std::string text;
    for (const char c : token.substr(0, 40)) text += c >= ' ' && c <= '~' ? c : '?';
    return text;
  }
  Json* place(Json value) {
    if (open_.empty()) return &(document = std::move(value));
    if (open_.back()->is_object()) return &(*slot_ = std::move(value));
    auto& array = open_.back()->get_ref<Json::array_t&>();
    return &array.emplace_back(std::move(value));
  }
  bool add(Json value) { return place(std::move(value)) != nullptr; }
  bool open(Json container) {
    if (open_.size() == max_depth_) return fail(str("JSON nested deeper than ", max_depth_));
    open_.push_back(place(std::move(container)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  const char* begin_;
  const std::string& file_;
  std::size_t max_depth_, offset_;
  std::vector<Json*> open_;  // stable: a container only grows while it is the innermost one
  Json* slot_ = nullptr;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& file, JsonLimits limits,
                std::size_t offset) {
  if (text.size() > limits.max_bytes)
    throw FormatError(
        file, str("JSON of ", text.size(), " bytes, at most ", limits.max_bytes, " allowed"));
  // The parser below takes NUL for the end of the text and skips a byte order mark.
  if (const auto nul = text.find('\0'); nul != text.npos)
    throw FormatError(file, "NUL byte in JSON", offset + nul);
  if (text.starts_with("\xEF\xBB\xBF"))
    throw FormatError(file, "byte order mark before JSON", offset);
  Builder builder(text, file, limits.max_depth, offset);
  const TrackedIterator begin(text.data(), &builder.seen);
  const TrackedIterator end(text.data() + text.size(), &builder.seen);
  Json::sax_parse(begin, end, &builder);
  return std::move(builder.document);
}

std::uint64_t json_unsigned(const Json& value, const std::string& file, const std::string& what) {
  if (!value.is_number_unsigned())
    throw FormatError(file, what + " is not a non-negative integer: " + value.dump().substr(0, 40));
  return value.get<std::uint64_t>();
}

const Json& json_member(const Json& object, const char* key, const std::string& file,
                        const std::string& what) {
  if (!object.is_object()) throw FormatError(file, what + " is not a JSON object");
  const auto found = object.find(key);
  if (found == object.end()) throw FormatError(file, what + " has no \"" + key + "\"");
  return *found;
}

const std::string& json_string(const Json& value, const std::string& file,
                               const std::string& what) {
  if (!value.is_string())
    throw FormatError(file, what + " is not a string: " + value.dump().substr(0, 40));
  return value.get_ref<const std::string&>();
}

}  // namespace qeff
