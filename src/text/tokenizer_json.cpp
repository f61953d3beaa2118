#include "text/tokenizer_json.hpp"

#include <limits>

#include "io/json.hpp"
#include "qeff/core/error.hpp"

namespace qeff::tokenizer_json {
namespace {

/// Bert- and RobertaProcessing: "cls": [token, id] A "sep": [token, id].
std::vector<std::int32_t> processing_ids(const Json& processor, const char* key) {
  const Json& pair = member(processor, key, "post_processor");
  if (!pair.is_array() || pair.size() != 2)
    throw FormatError(kFile, str("\"", key, "\" is not [token, id]"));
  return {token_id(pair[1], str("the id of \"", key, "\""))};
}

Template parse_template(const Json& processor) {
  Template result;
  const Json& special = member(processor, "special_tokens", "post_processor");
  std::size_t sequences = 0;
  for (const Json& part : array_member(processor, "single", "post_processor")) {
    if (part.is_object() && part.contains("Sequence")) {
      ++sequences;
      continue;
    }
    const Json& token = member(part, "SpecialToken", "a part of \"single\"");
    const std::string& name = string_member(token, "id", "SpecialToken");
    for (const Json& id :
         array_member(member(special, name.c_str(), "special_tokens"), "ids", name))
      (sequences == 0 ? result.prefix : result.suffix).push_back(token_id(id, "an id of " + name));
  }
  if (sequences != 1)
    throw FormatError(kFile, str("the template has ", sequences, " sequences, expected 1"));
  return result;
}

/// Around what the earlier processors have put around the text.
void apply_processor(const Json& processor, Template& around) {
  const std::string& type = type_of(processor, "post_processor");
  Template own;
  if (type == "Sequence") {
    for (const Json& part : array_member(processor, "processors", "post_processor")) {
      if (type_of(part, "post_processor") == "Sequence")
        refuse("a Sequence in a Sequence of post_processors");
      apply_processor(part, around);
    }
    return;
  }
  if (type == "ByteLevel") return;  // moves offsets only
  if (type == "TemplateProcessing")
    own = parse_template(processor);
  else if (type == "BertProcessing" || type == "RobertaProcessing")
    own = {processing_ids(processor, "cls"), processing_ids(processor, "sep")};
  else
    refuse("post_processor of type " + type +
           ", qeff reads TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel and "
           "Sequence");
  around.prefix.insert(around.prefix.begin(), own.prefix.begin(), own.prefix.end());
  around.suffix.insert(around.suffix.end(), own.suffix.begin(), own.suffix.end());
}

}  // namespace

const Json& member(const Json& object, const char* key, const std::string& what) {
  return json_member(object, key, kFile, what);
}

const Json* find_member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

const std::string& string_member(const Json& object, const char* key, const std::string& what) {
  return json_string(member(object, key, what), kFile, str("\"", key, "\" of ", what));
}

const Json& array_member(const Json& object, const char* key, const std::string& what) {
  const Json& array = member(object, key, what);
  if (!array.is_array()) throw FormatError(kFile, str("\"", key, "\" is not an array"));
  return array;
}

bool flag(const Json& object, const char* key, bool otherwise) {
  const Json* found = find_member(object, key);
  if (found == nullptr) return otherwise;
  if (!found->is_boolean()) throw FormatError(kFile, str("\"", key, "\" is not true or false"));
  return found->get<bool>();
}

std::int32_t token_id(const Json& value, const std::string& what) {
  const std::uint64_t id = json_unsigned(value, kFile, what);
  if (id >= static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max()))
    throw FormatError(kFile, str(what, " is ", id, ", too large for a token id"));
  return static_cast<std::int32_t>(id);
}

const std::string& type_of(const Json& component, const std::string& what) {
  return string_member(component, "type", what);
}

void refuse(const std::string& what) {
  throw Unsupported(kFile + ": " + what +
                    "; tokenize with the model's own tokenizer and pass token ids");
}

Template parse_post_processor(const Json& document) {
  Template around;
  if (const Json* processor = find_member(document, "post_processor"))
    apply_processor(*processor, around);
  return around;
}

}  // namespace qeff::tokenizer_json
