#include "chat_template.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <regex>
#include <utility>

#include "qeff/core/error.hpp"

namespace qeff::cli {
namespace {

using Messages = std::vector<Message>;

constexpr std::string_view kBlanks = " \t\n\v\f\r";

std::string trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1));
}

/// Line ends as they are, however the literals of the program write them.
std::string unescaped(std::string text) {
  for (auto at = text.find("\\n"); at != std::string::npos; at = text.find("\\n", at + 1))
    text.replace(at, 2, "\n");
  return text;
}

bool matches(const std::string& text, const char* pattern) {
  return std::regex_search(text, std::regex(pattern));
}

bool trims(const std::string& expression) {
  return matches(expression, R"(content(['"]\])?\s*(\|\s*trim|\.strip\(\)))");
}

/// The first {{ ... }} of the program with this in it.
std::string expression_with(const std::string& jinja, std::string_view text) {
  for (auto begin = jinja.find("{{"); begin != std::string::npos;
       begin = jinja.find("{{", begin + 2)) {
    const std::string expression = jinja.substr(begin, jinja.find("}}", begin) - begin);
    if (expression.find(text) != std::string::npos) return expression;
  }
  return {};
}

bool begins_with_system(const Messages& messages) {
  return !messages.empty() && messages.front().role == "system";
}

[[noreturn]] void refuse_system(std::string_view family) {
  throw Unsupported(fmt::format("the {} chat template has no system message", family));
}

/// What an answer is after its thoughts.
std::string without_thoughts(const std::string& text) {
  constexpr std::string_view end = "</think>";
  const auto at = text.rfind(end);
  if (at == std::string::npos) return text;
  const auto begin = text.find_first_not_of('\n', at + end.size());
  return begin == std::string::npos ? std::string() : text.substr(begin);
}

}  // namespace

ChatTemplate::ChatTemplate(std::string jinja, std::string bos, std::string eos)
    : jinja_(unescaped(std::move(jinja))),
      bos_(std::move(bos)),
      eos_(std::move(eos)),
      trims_(trims(jinja_)) {
  if (!says("bos_token")) bos_.clear();
  render_ = recognize();
}

std::string ChatTemplate::render(const Messages& messages) const {
  return (this->*render_)(messages);
}

bool ChatTemplate::says(std::string_view text) const noexcept {
  return jinja_.find(text) != std::string::npos;
}

std::string ChatTemplate::text_of(const Message& message) const {
  return trims_ ? trimmed(message.content) : message.content;
}

ChatTemplate::Render ChatTemplate::recognize() {
  const auto is = [this](std::string_view family, Render function) {
    family_ = family;
    return function;
  };
  if (says("<|im_start|>") && says("<|im_end|>") && !says("<|im_sep|>")) {
    static const std::regex stated(R"(<\|im_start\|>system\n([^<{}'"]+)<\|im_end\|>)");
    if (std::smatch match; std::regex_search(jinja_, match, stated)) system_ = match[1].str();
    return is("ChatML", &ChatTemplate::chatml);
  }
  if (says("<|start_header_id|>") && says("<|eot_id|>")) {
    read_date();
    return is("Llama 3", &ChatTemplate::llama3);
  }
  if (says("[INST]") && says("[/INST]")) {
    read_instructions();
    return is(says("<<SYS>>") ? "Llama 2" : "Mistral", &ChatTemplate::instructions);
  }
  if (says("<start_of_turn>") && says("<end_of_turn>")) return is("Gemma", &ChatTemplate::gemma);
  if (says("<|user|>") && says("<|assistant|>"))
    return says("<|end|>") ? is("Phi-3", &ChatTemplate::phi3) : is("Zephyr", &ChatTemplate::zephyr);
  throw Unsupported(
      "the chat template of this model is of no family that qeff-run knows (ChatML, Llama 2 and 3, "
      "Mistral, Gemma, Phi-3, Zephyr); the Python program \"qeff chat\" runs any template");
}

std::string ChatTemplate::chatml(const Messages& messages) const {
  std::string prompt = bos_;
  const auto turn = [&](const std::string& role, const std::string& text) {
    prompt += fmt::format("<|im_start|>{}\n{}<|im_end|>\n", role, text);
  };
  if (system_ && !begins_with_system(messages)) turn("system", *system_);
  const bool thinks = says("</think>");
  for (const Message& m : messages)
    turn(m.role, thinks && m.role == "assistant" ? without_thoughts(m.content) : text_of(m));
  return prompt + "<|im_start|>assistant\n";
}

/// Llama 3.1 names the day: one of its own, or since 3.2 today.
void ChatTemplate::read_date() {
  static const std::regex fixed(R"(date_string = ['"]([^'"]+)['"])");
  if (!says("Cutting Knowledge Date")) return;
  if (std::smatch match; !says("strftime_now") && std::regex_search(jinja_, match, fixed))
    date_ = match[1].str();
  else
    date_ = fmt::format("{:%d %b %Y}", fmt::localtime(std::time(nullptr)));
}

std::string ChatTemplate::llama3(const Messages& messages) const {
  std::string prompt = bos_;
  const auto turn = [&](const std::string& role, const std::string& text) {
    prompt += fmt::format("<|start_header_id|>{}<|end_header_id|>\n\n{}<|eot_id|>", role, text);
  };
  const bool system = begins_with_system(messages);
  if (date_)
    turn("system", fmt::format("Cutting Knowledge Date: December 2023\nToday Date: {}\n\n{}",
                               *date_, system ? text_of(messages.front()) : ""));
  for (std::size_t i = date_ && system ? 1 : 0; i < messages.size(); ++i)
    turn(messages[i].role, text_of(messages[i]));
  return prompt + "<|start_header_id|>assistant<|end_header_id|>\n\n";
}

void ChatTemplate::read_instructions() {
  const std::string asked = expression_with(jinja_, "[/INST]");
  const std::string answered = expression_with(jinja_, "eos_token");
  Instructions& style = instructions_;
  style.system_inside = says("<<SYS>>");
  style.system_last = says("loop.last and system_message");
  style.bos_each = matches(asked, R"(bos_token\s*\+)");
  style.trims_question = trims(asked);
  style.trims_answer = trims(answered);
  style.open = asked.find("[INST] ") != std::string::npos ? "[INST] " : "[INST]";
  style.close = asked.find(" [/INST]") != std::string::npos ? " [/INST]" : "[/INST]";
  style.open_answer = matches(answered, R"(['"] ['"]\s*\+\s*(message|content))") ? " " : "";
  style.close_answer = (matches(answered, R"(['"] ['"]\s*\+\s*eos_token)") ? " " : "") + eos_ +
                       (matches(answered, R"(eos_token\s*\+\s*['"] ['"])") ? " " : "");
}

/// Between the marks of a question: its text, with the system message where that belongs.
std::string ChatTemplate::question(const Messages& messages, std::size_t i) const {
  const Instructions& style = instructions_;
  std::string text = messages[i].content;
  if (begins_with_system(messages)) {
    const std::string& system = messages.front().content;
    if (style.system_inside && i == 1) text = "<<SYS>>\n" + system + "\n<</SYS>>\n\n" + text;
    if (style.system_last && i + 1 == messages.size()) text = system + "\n\n" + text;
  }
  return style.trims_question ? trimmed(text) : text;
}

std::string ChatTemplate::instructions(const Messages& messages) const {
  const Instructions& style = instructions_;
  const bool system = begins_with_system(messages);
  if (system && !style.system_inside && !style.system_last) refuse_system(family_);
  std::string prompt = style.bos_each ? "" : bos_;
  for (std::size_t i = system ? 1 : 0; i < messages.size(); ++i) {
    const std::string& text = messages[i].content;
    if (messages[i].role == "assistant")
      prompt +=
          style.open_answer + (style.trims_answer ? trimmed(text) : text) + style.close_answer;
    else
      prompt += (style.bos_each ? bos_ : "") + style.open + question(messages, i) + style.close;
  }
  return prompt;
}

std::string ChatTemplate::gemma(const Messages& messages) const {
  const bool system = begins_with_system(messages);
  if (system && !says("first_user_prefix")) refuse_system(family_);
  std::string prompt = bos_;
  for (std::size_t i = system ? 1 : 0; i < messages.size(); ++i) {
    const Message& m = messages[i];
    const std::string before = system && i == 1 ? messages.front().content + "\n\n" : "";
    prompt += fmt::format("<start_of_turn>{}\n{}{}<end_of_turn>\n",
                          m.role == "assistant" ? "model" : m.role, before, text_of(m));
  }
  return prompt + "<start_of_turn>model\n";
}

std::string ChatTemplate::phi3(const Messages& messages) const {
  std::string prompt = bos_;
  for (const Message& m : messages)
    prompt += fmt::format("<|{}|>\n{}<|end|>\n", m.role, text_of(m));
  return prompt + "<|assistant|>\n";
}

std::string ChatTemplate::zephyr(const Messages& messages) const {
  std::string prompt = bos_;
  for (const Message& m : messages)
    prompt += fmt::format("<|{}|>\n{}{}\n", m.role, text_of(m), eos_);
  return prompt + "<|assistant|>\n";
}

}  // namespace qeff::cli
