#include "text/token_decoder.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "io/json.hpp"
#include "qeff/core/error.hpp"
#include "text/byte_level.hpp"
#include "text/unicode.hpp"

namespace qeff {
namespace {

using namespace tokenizer_json;

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// The byte of a token <0xHH>.
std::optional<char> fallback_byte(std::string_view token) noexcept {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  unsigned value = 0;
  for (const char c : token.substr(3, 2)) {
    const auto digit = std::string_view("0123456789abcdef0123456789ABCDEF").find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    value = value * 16 + static_cast<unsigned>(digit % 16);
  }
  return static_cast<char>(value);
}

/// How many bytes at the end of `bytes` may be the beginning of a character.
std::size_t incomplete_bytes(std::string_view bytes) noexcept {
  for (std::size_t length = 1; length <= 3 && length <= bytes.size(); ++length) {
    const std::string_view tail = bytes.substr(bytes.size() - length);
    if (continues(tail[0])) continue;
    const auto first = static_cast<unsigned char>(tail[0]);
    const std::size_t whole = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
    std::size_t at = 0;
    (void)decode_utf8(tail, at);
    const bool begun = whole > length && first <= 0xF4 && first >= 0xC2 && at == length;
    return begun ? length : 0;
  }
  return 0;
}

}  // namespace

/// One token, or the end, on its way through the steps.
class TokenDecoder::Run {
 public:
  Run(const TokenDecoder& decoder, DecoderState& state, std::string& out)
      : decoder_(decoder), state_(state), out_(out) {}

  /// Gives `token` to the step at `index`.
  void feed(std::size_t index, std::string token) {
    if (index == decoder_.steps_.size()) {
      out_ += token;
      return;
    }
    std::visit([&](const auto& step) { apply(index, step, std::move(token)); },
               decoder_.steps_[index]);
  }

  /// Gives what the step at `index` holds back to the next.
  void flush(std::size_t index) {
    const bool fallback = std::holds_alternative<ByteFallback>(decoder_.steps_[index]);
    std::string held = std::exchange(state_.steps[index].held, {});
    if (held.empty()) return;
    if (!fallback) return feed(index + 1, valid_utf8(held));
    if (is_valid_utf8(held)) return feed(index + 1, std::move(held));
    for (std::size_t i = 0; i < held.size(); ++i) feed(index + 1, std::string(kReplacement));
  }

 private:
  void apply(std::size_t index, const ReplaceStep& step, std::string token) {
    feed(index + 1, replaced(token, step.pattern, step.content));
  }

  void apply(std::size_t index, const MetaspaceSplit& step, std::string token) {
    const bool first = state_.steps[index].count++ == 0;
    const bool drop = first && step.prepend != MetaspaceSplit::Prepend::never;
    std::string text;
    for (std::size_t at = 0; at < token.size();) {
      if (std::string_view(token).substr(at).starts_with(step.replacement)) {
        at += step.replacement.size();
        if (!drop) text += ' ';
      } else {
        text += token[at++];
      }
    }
    feed(index + 1, std::move(text));
  }

  void apply(std::size_t index, const Strip& step, std::string token) {
    DecoderState::Step own;
    DecoderState::Step& state = step.fused ? state_.steps[index] : own;
    std::size_t begin = 0, end = token.size();
    const std::size_t size = step.content.size();
    const auto is_content = [&](std::size_t at) {
      return token.compare(at, size, step.content) == 0;
    };
    while (!state.done && state.count < step.start && begin < end && is_content(begin)) {
      begin += size;
      ++state.count;
    }
    state.done = state.done || begin < end;
    for (std::size_t i = 0; i < step.stop && end >= begin + size && is_content(end - size); ++i)
      end -= size;
    feed(index + 1, token.substr(begin, end - begin));
  }

  void apply(std::size_t index, const Bytes&, const std::string& token) {
    std::string& held = state_.steps[index].held;
    append_bytes_of(token, held);
    const std::size_t waiting = incomplete_bytes(held);
    std::string ready = held.substr(0, held.size() - waiting);
    held.erase(0, ready.size());
    if (!ready.empty())
      feed(index + 1, is_valid_utf8(ready) ? std::move(ready) : valid_utf8(ready));
  }

  void apply(std::size_t index, const ByteFallback&, std::string token) {
    if (const auto byte = fallback_byte(token)) {
      state_.steps[index].held += *byte;
      return;
    }
    flush(index);
    feed(index + 1, std::move(token));
  }

  void apply(std::size_t index, const Fuse&, std::string token) {
    feed(index + 1, std::move(token));
  }

  void apply(std::size_t index, const Join&, std::string token) {
    if (state_.steps[index].count++ > 0) token.insert(0, 1, ' ');
    feed(index + 1, std::move(token));
  }

  const TokenDecoder& decoder_;
  DecoderState& state_;
  std::string& out_;
};

void TokenDecoder::push(DecoderState& state, std::string token, std::string& out) const {
  Run(*this, state, out).feed(0, std::move(token));
}

void TokenDecoder::finish(DecoderState& state, std::string& out) const {
  Run run(*this, state, out);
  for (std::size_t i = 0; i < steps_.size(); ++i) run.flush(i);
}

TokenDecoder TokenDecoder::from_json(const Json& document) {
  TokenDecoder decoder;
  bool fused = false;
  if (const Json* component = find_member(document, "decoder"))
    decoder.add(*component, 0, fused);
  else
    decoder.steps_.emplace_back(Join{});
  return decoder;
}

TokenDecoder::Strip TokenDecoder::parse_strip(const Json& component, bool fused) {
  constexpr std::uint64_t kMost = 1 << 16;
  Strip step;
  step.fused = fused;
  step.content = string_member(component, "content", "decoder Strip");
  std::size_t at = 0;
  if (step.content.empty() ||
      (static_cast<void>(decode_utf8(step.content, at)), at != step.content.size()))
    throw FormatError(kFile, "\"content\" of decoder Strip is not one character");
  step.start = json_unsigned(member(component, "start", "decoder Strip"), kFile, "start");
  step.stop = json_unsigned(member(component, "stop", "decoder Strip"), kFile, "stop");
  if (step.start > kMost || step.stop > kMost)
    throw FormatError(kFile, "decoder Strip of more than 65536 characters");
  if (fused && step.stop > 0) refuse("decoder Strip of the end of the text");
  return step;
}

void TokenDecoder::add(const Json& component, int depth, bool& fused) {
  constexpr int kMaxDepth = 8;
  const std::string& type = type_of(component, "decoder");
  if (fused && type != "Fuse" && type != "Strip" && type != "Sequence")
    refuse("decoder " + type + " behind one that joins the tokens");
  if (type == "Sequence") {
    if (depth == kMaxDepth) throw FormatError(kFile, "decoders nested deeper than 8");
    for (const Json& part : array_member(component, "decoders", "decoder"))
      add(part, depth + 1, fused);
  } else if (type == "ByteLevel") {
    steps_.emplace_back(Bytes{});
    fused = true;
  } else if (type == "Replace") {
    steps_.emplace_back(ReplaceStep{parse_split_pattern(component, "decoder Replace"),
                                    string_member(component, "content", "decoder Replace")});
  } else if (type == "ByteFallback") {
    steps_.emplace_back(ByteFallback{});
  } else if (type == "Fuse") {
    steps_.emplace_back(Fuse{});
    fused = true;
  } else if (type == "Strip") {
    steps_.emplace_back(parse_strip(component, fused));
  } else if (type == "Metaspace") {
    steps_.emplace_back(parse_metaspace(component, "decoder Metaspace"));
  } else {
    refuse("decoder of type " + type);
  }
}

}  // namespace qeff
