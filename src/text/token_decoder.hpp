/// @file
/// The "decoder" of tokenizer.json, token by token: text comes out as soon as no later token can
/// change it. Characters that are not complete, and with ByteFallback runs of bytes that may still
/// turn out not to be UTF-8, are held back.
#pragma once

#include <cstddef>
#include <string>
#include <variant>
#include <vector>

#include "text/pre_tokenizer.hpp"
#include "text/text_normalizer.hpp"
#include "text/tokenizer_json.hpp"

namespace qeff {

/// What the steps of a decoder remember between tokens.
struct DecoderState {
  struct Step {
    std::string held;       ///< Bytes that wait.
    std::size_t count = 0;  ///< Tokens, or characters stripped so far.
    bool done = false;      ///< Nothing more to strip.
  };
  std::vector<Step> steps;
};

class TokenDecoder {
 public:
  /// Of the document. @throws FormatError; Unsupported naming the type.
  [[nodiscard]] static TokenDecoder from_json(const tokenizer_json::Json& document);

  [[nodiscard]] DecoderState start() const {
    return {std::vector<DecoderState::Step>(steps_.size())};
  }
  /// Appends what is certain after `token` to `out`.
  void push(DecoderState& state, std::string token, std::string& out) const;
  /// Appends what has been held back.
  void finish(DecoderState& state, std::string& out) const;

 private:
  struct Bytes {};         ///< ByteLevel
  struct ByteFallback {};  ///< <0xE2>
  struct Fuse {};
  struct Join {};  ///< No decoder: a space between tokens.
  struct Strip {
    std::string content;
    std::size_t start = 0, stop = 0;
    bool fused = false;  ///< Of all tokens together, not of each.
  };
  using Step = std::variant<ReplaceStep, MetaspaceSplit, Strip, Bytes, ByteFallback, Fuse, Join>;
  class Run;

  void add(const tokenizer_json::Json& component, int depth, bool& fused);
  [[nodiscard]] static Strip parse_strip(const tokenizer_json::Json& component, bool fused);

  std::vector<Step> steps_;
};

}  // namespace qeff
