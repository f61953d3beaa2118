// qeff-run chat: a conversation, line by line.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>

#include "commands.hpp"
#include "interrupt.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/atomic_file.hpp"

namespace qeff::cli {
namespace {

constexpr std::string_view kHelp =
    "/reset          forget the conversation\n"
    "/system TEXT    tell the model this first, from a new conversation on; without TEXT nothing\n"
    "/save FILE      write the conversation as JSON\n"
    "/load FILE      go on with a conversation that was saved\n"
    "/prompt         what the model is given of it, as JSON\n"
    "/stats          tokens and speed of the last answer\n"
    "/help           this list\n"
    "/exit           leave, as Ctrl-D does; Ctrl-C stops an answer\n";

struct Options {
  ModelOptions model;
  AnswerOptions answer{.max_new_tokens = 512, .sampling = {.temperature = 0.7f, .top_p = 0.95f}};
  std::string system;
};

class Conversation {
 public:
  Conversation(const LanguageModel& model, const Options& options)
      : model_(model),
        options_(options),
        template_(model.chat_template()),
        session_(model.session(1)),
        sequences_(sequence_model(session_)),
        generator_(*sequences_),
        system_(options.system) {}

  /// Until the end of the input.
  void talk() {
    if (terminal_)
      fmt::print(stderr, "{}: /help lists the commands, /exit leaves\n", model_.path());
    while (const auto line = read_line()) {
      if (line->starts_with('/')) {
        if (!command(*line)) return;
      } else if (line->find_first_not_of(" \t\r") != std::string::npos) {
        answer_to(*line);
      }
    }
  }

 private:
  /// A line, empty after Ctrl-C; nothing at the end of the input.
  std::optional<std::string> read_line() {
    if (terminal_) fmt::print("> ");
    std::fflush(stdout);
    if (terminal_ && !wait_for_input()) {
      fmt::print("\n");
      return std::string();
    }
    std::string line;
    if (std::getline(std::cin, line)) return line;
    check_interrupt();
    return std::nullopt;
  }

  /// False after Ctrl-C, also if it came just before.
  static bool wait_for_input() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    while (poll(&input, 1, 100) <= 0)
      if (take_interrupt()) return false;
    return true;
  }

  /// Whether the conversation goes on.
  bool command(const std::string& line) {
    const auto space = line.find(' ');
    const std::string name = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    if (name == "/exit" || name == "/quit") return false;
    if (name == "/reset" || name == "/system") {
      turns_.clear();
      if (name == "/system") system_ = rest;
    } else if (name == "/save" || name == "/load") {
      if (rest.empty()) fmt::print("{} needs the name of a file\n", name);
      if (!rest.empty()) guarded([&] { name == "/save" ? save(rest) : load(rest); });
    } else if (name == "/prompt") {
      guarded([&] { print_json(template_.render(messages())); });
    } else if (name == "/stats") {
      print_json(stats_json(last_));
    } else if (name == "/help") {
      fmt::print("{}", kHelp);
    } else {
      fmt::print("no command {}; /help lists them\n", name);
    }
    return true;
  }

  std::vector<Message> messages() const {
    std::vector<Message> all;
    if (!system_.empty()) all.push_back({"system", system_});
    all.insert(all.end(), turns_.begin(), turns_.end());
    return all;
  }

  /// An error becomes a line on stderr.
  template <class Work>
  void guarded(Work work) {
    try {
      work();
    } catch (const Error& error) {
      fmt::print(stderr, "qeff-run: {}\n", error.what());
    }
  }

  void save(const std::string& path) const {
    Json list = Json::array();
    for (const Message& m : messages()) list.push_back({{"role", m.role}, {"content", m.content}});
    AtomicFile file(path);
    file.write(list.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    file.commit();
  }

  void load(const std::string& path) {
    const Json list = Json::parse(read_user_text(path), nullptr, false);
    std::vector<Message> turns;
    for (const Json& m : list) {
      if (!m.is_object() || !m.contains("role") || !m["role"].is_string() ||
          !m.contains("content") || !m["content"].is_string())
        throw FormatError(path, "is not a JSON array of messages, each with role and content");
      turns.push_back({m["role"].get<std::string>(), m["content"].get<std::string>()});
    }
    const bool system = !turns.empty() && turns.front().role == "system";
    system_ = system ? turns.front().content : "";
    turns_.assign(turns.begin() + (system ? 1 : 0), turns.end());
  }

  void answer_to(const std::string& line) {
    turns_.push_back({"user", line});
    const std::size_t before = turns_.size();
    guarded([&] {
      const auto prompt = model_.tokenizer().encode(template_.render(messages()), false);
      const auto show = [](std::string_view piece) {
        fmt::print("{}", piece);
        std::fflush(stdout);
      };
      const Answer result = answer(model_, generator_, prompt, options_.answer, show);
      fmt::print("{}\n", result.reason == "interrupted" ? " …" : "");
      last_ = result.stats;
      turns_.push_back({"assistant", result.text});
    });
    if (turns_.size() == before) turns_.pop_back();
    std::fflush(stdout);
  }

  const LanguageModel& model_;
  const Options& options_;
  ChatTemplate template_;
  CausalSession session_;
  std::unique_ptr<SequenceModel> sequences_;
  Generator generator_;
  std::string system_;
  std::vector<Message> turns_;
  GenerationStats last_;
  bool terminal_ = isatty(STDIN_FILENO) != 0;
};

}  // namespace

void add_chat(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand("chat", "Talk to a model; /help lists the commands.");
  const auto options = std::make_shared<Options>();
  add_model_options(verb, options->model);
  verb.add_option("--system", options->system, "What the model is told first.");
  add_answer_options(verb, options->answer);
  verb.callback([options] {
    const LanguageModel model(options->model);
    Conversation(model, *options).talk();
  });
}

}  // namespace qeff::cli
