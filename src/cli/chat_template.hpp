/// @file
/// The prompt of a conversation, in the form that a model was trained on.
///
/// Models say it as a Jinja program, which is not run here. The widespread families are recognized
/// by the marks in that program, and their details (spaces, trimming, a first system message) are
/// read off it; any other program is refused. tests/python/test_run_cli.py compares with Jinja.
///
/// | family            | a turn                                                    |
/// |-------------------|-----------------------------------------------------------|
/// | ChatML            | <|im_start|>ROLE\nTEXT<|im_end|>\n                        |
/// | Llama 3           | <|start_header_id|>ROLE<|end_header_id|>\n\nTEXT<|eot_id|> |
/// | Llama 2, Mistral  | [INST] QUESTION [/INST] ANSWER</s>                        |
/// | Gemma             | <start_of_turn>ROLE\nTEXT<end_of_turn>\n                  |
/// | Phi-3             | <|ROLE|>\nTEXT<|end|>\n                                   |
/// | Zephyr, TinyLlama | <|ROLE|>\nTEXT</s>\n                                      |
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace qeff::cli {

struct Message {
  std::string role, content;  ///< Roles: system (first, if at all), user, assistant.
};

class ChatTemplate {
 public:
  /// @param jinja  The program. @throws Unsupported if it is of no family above.
  ChatTemplate(std::string jinja, std::string bos, std::string eos);

  /// The prompt, up to where the model begins its answer.
  /// @throws Unsupported for a system message where the family has none.
  [[nodiscard]] std::string render(const std::vector<Message>& messages) const;
  [[nodiscard]] std::string_view family() const noexcept { return family_; }

 private:
  using Render = std::string (ChatTemplate::*)(const std::vector<Message>&) const;

  [[nodiscard]] Render recognize();
  void read_instructions();
  void read_date();
  [[nodiscard]] bool says(std::string_view text) const noexcept;
  [[nodiscard]] std::string text_of(const Message& message) const;
  [[nodiscard]] std::string question(const std::vector<Message>& messages, std::size_t i) const;

  [[nodiscard]] std::string chatml(const std::vector<Message>& messages) const;
  [[nodiscard]] std::string llama3(const std::vector<Message>& messages) const;
  [[nodiscard]] std::string instructions(const std::vector<Message>& messages) const;
  [[nodiscard]] std::string gemma(const std::vector<Message>& messages) const;
  [[nodiscard]] std::string phi3(const std::vector<Message>& messages) const;
  [[nodiscard]] std::string zephyr(const std::vector<Message>& messages) const;

  /// How the [INST] families differ.
  struct Instructions {
    bool bos_each = false;       ///< A question begins with the token of a text's begin.
    bool system_inside = false;  ///< The system message is in the first question, in <<SYS>>,
    bool system_last = false;    ///< or before the last question.
    bool trims_question = false, trims_answer = false;
    std::string open, close, open_answer, close_answer;
  };

  std::string jinja_, bos_, eos_;
  bool trims_ = false;                 ///< Texts lose blanks at their ends.
  std::optional<std::string> system_;  ///< ChatML: unless the conversation begins with another.
  std::optional<std::string> date_;    ///< Llama 3.1: stands in the system message.
  Instructions instructions_;
  std::string_view family_;
  Render render_ = nullptr;
};

}  // namespace qeff::cli
