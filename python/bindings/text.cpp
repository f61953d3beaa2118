/// @file
/// Python face of text/: WordPiece and BPE.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qeff/text/bpe.hpp"
#include "qeff/text/wordpiece.hpp"

namespace py = pybind11;

namespace qeff::python {

void bind_text(py::module_& m);

namespace {

using Ids = std::vector<std::int32_t>;

/// Text as UTF-8; lone surrogates, which UTF-8 cannot hold, become U+FFFD below.
std::string utf8(const py::handle& text) {
  if (!py::isinstance<py::str>(text) && !py::isinstance<py::bytes>(text))
    throw py::type_error("encode: every text must be str or bytes");
  if (py::isinstance<py::bytes>(text)) return text.cast<std::string>();
  return text.attr("encode")("utf-8", "surrogatepass").cast<std::string>();
}

py::array_t<std::int32_t> to_array(const Ids& ids) {
  return py::array_t<std::int32_t>(static_cast<py::ssize_t>(ids.size()), ids.data());
}

/// The arrays of `encode(text)`, computed without the GIL.
template <class Encode>
py::list encode_all(const py::list& texts, Encode encode) {
  std::vector<std::string> utf8_texts;
  for (const py::handle text : texts) utf8_texts.push_back(utf8(text));
  std::vector<Ids> encoded;
  {
    const py::gil_scoped_release release;
    for (const std::string& text : utf8_texts) encoded.push_back(encode(text));
  }
  py::list result;
  for (const Ids& ids : encoded) result.append(to_array(ids));
  return result;
}

py::list encode(const WordPiece& tokenizer, const py::list& texts, std::size_t max_tokens) {
  return encode_all(texts,
                    [&](const std::string& text) { return tokenizer.encode(text, max_tokens); });
}

py::list encode_batch(const BpeTokenizer& tokenizer, const py::list& texts, bool special,
                      std::optional<std::size_t> max_tokens) {
  return encode_all(texts, [&](const std::string& text) {
    return tokenizer.encode(text, special, max_tokens.value_or(BpeTokenizer::kNoLimit));
  });
}

py::array_t<std::int32_t> encode_one(const BpeTokenizer& tokenizer, const py::handle& text,
                                     bool special, std::optional<std::size_t> max_tokens) {
  const std::string bytes = utf8(text);
  Ids ids;
  {
    const py::gil_scoped_release release;
    ids = tokenizer.encode(bytes, special, max_tokens.value_or(BpeTokenizer::kNoLimit));
  }
  return to_array(ids);
}

BpeTokenizer bpe_from_json(const std::string& json, std::optional<bool> add_bos,
                           std::optional<bool> add_eos, const std::string& bos_token,
                           const std::string& eos_token) {
  const py::gil_scoped_release release;
  return BpeTokenizer::from_tokenizer_json(json, {add_bos, add_eos, bos_token, eos_token});
}

void bind_bpe(py::module_& m) {
  py::class_<BpeTokenizer>(m, "BpeTokenizer", "Byte pair encoding; immutable, thread-safe.")
      .def_static("from_tokenizer_json", &bpe_from_json, py::arg("json"), py::kw_only(),
                  py::arg("add_bos") = py::none(), py::arg("add_eos") = py::none(),
                  py::arg("bos_token") = "", py::arg("eos_token") = "")
      .def("encode", &encode_one, py::arg("text"), py::arg("add_special_tokens") = true,
           py::arg("max_tokens") = py::none(), "int32 ids of one text (str or bytes).")
      .def("encode_batch", &encode_batch, py::arg("texts"), py::arg("add_special_tokens") = true,
           py::arg("max_tokens") = py::none(), "One int32 array of ids per text.")
      .def(
          "decode",
          [](const BpeTokenizer& self, const Ids& ids, bool skip_special_tokens) {
            return self.decode(ids, skip_special_tokens);
          },
          py::arg("ids"), py::arg("skip_special_tokens") = true)
      .def(
          "stream",
          [](const BpeTokenizer& self, bool skip_special_tokens) {
            return TokenStream(self, skip_special_tokens);
          },
          py::arg("skip_special_tokens") = true, "A new TokenStream.")
      .def("token_id", &BpeTokenizer::token_id, py::arg("token"))
      .def("token", &BpeTokenizer::token, py::arg("id"))
      .def("is_special", &BpeTokenizer::is_special, py::arg("id"))
      .def_property_readonly("vocab_size", &BpeTokenizer::vocab_size)
      .def_property_readonly("prefix_ids", &BpeTokenizer::prefix_ids)
      .def_property_readonly("suffix_ids", &BpeTokenizer::suffix_ids);
  py::class_<TokenStream>(m, "TokenStream", "Ids one by one to text.")
      .def("push", &TokenStream::push, py::arg("id"))
      .def("finish", &TokenStream::finish);
}

WordPiece from_vocab(const std::string& vocab_txt, bool do_lower_case,
                     std::optional<bool> strip_accents, bool tokenize_chinese_chars) {
  WordPieceOptions options;
  options.do_lower_case = do_lower_case;
  options.strip_accents = strip_accents;
  options.tokenize_chinese_chars = tokenize_chinese_chars;
  return WordPiece::from_vocab(vocab_txt, options);
}

}  // namespace

void bind_text(py::module_& m) {
  bind_bpe(m);
  py::class_<WordPiece>(m, "WordPiece", "BERT tokenization; immutable, thread-safe.")
      .def_static("from_vocab", &from_vocab, py::arg("vocab_txt"), py::kw_only(),
                  py::arg("do_lower_case") = true, py::arg("strip_accents") = py::none(),
                  py::arg("tokenize_chinese_chars") = true)
      .def_static("from_tokenizer_json", &WordPiece::from_tokenizer_json, py::arg("json"),
                  py::call_guard<py::gil_scoped_release>())
      .def("encode", &encode, py::arg("texts"), py::arg("max_tokens"),
           "One int32 array of ids per text (str or bytes), template included.")
      .def("token_to_id", &WordPiece::token_to_id, py::arg("token"))
      .def_property_readonly("vocab_size", &WordPiece::vocab_size)
      .def_property_readonly("unknown_id", &WordPiece::unknown_id)
      .def_property_readonly("pad_id", &WordPiece::pad_id)
      .def_property_readonly("prefix_ids", &WordPiece::prefix_ids)
      .def_property_readonly("suffix_ids", &WordPiece::suffix_ids)
      .def_property_readonly("max_length", &WordPiece::max_length);
}

}  // namespace qeff::python
