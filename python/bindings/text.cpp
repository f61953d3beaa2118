/// @file
/// Python face of text/: WordPiece.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qeff/text/wordpiece.hpp"

namespace py = pybind11;

namespace qeff::python {

void bind_text(py::module_& m);

namespace {

using Ids = std::vector<std::int32_t>;

/// Text as UTF-8; lone surrogates, which UTF-8 cannot hold, become U+FFFD below.
std::vector<std::string> utf8(const py::list& texts) {
  std::vector<std::string> result;
  for (const py::handle text : texts) {
    if (!py::isinstance<py::str>(text) && !py::isinstance<py::bytes>(text))
      throw py::type_error("encode: every text must be str or bytes");
    const py::object bytes = py::isinstance<py::str>(text)
                                 ? text.attr("encode")("utf-8", "surrogatepass")
                                 : py::reinterpret_borrow<py::object>(text);
    result.push_back(bytes.cast<std::string>());
  }
  return result;
}

py::list encode(const WordPiece& tokenizer, const py::list& texts, std::size_t max_tokens) {
  const std::vector<std::string> utf8_texts = utf8(texts);
  std::vector<Ids> encoded;
  {
    const py::gil_scoped_release release;
    for (const std::string& text : utf8_texts)
      encoded.push_back(tokenizer.encode(text, max_tokens));
  }
  py::list result;
  for (const Ids& ids : encoded)
    result.append(py::array_t<std::int32_t>(static_cast<py::ssize_t>(ids.size()), ids.data()));
  return result;
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
