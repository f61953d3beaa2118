#include <algorithm>
#include <utility>

#include "text/split_pattern.hpp"
#include "text/split_pattern_syntax.hpp"

namespace qeff {
namespace {

using Op = SplitPattern::Instruction::Op;
using Kind = PatternNode::Kind;

/// How many code points a tree can match: at least (`longest` false) or at most.
std::uint32_t width(const PatternNode& node, bool longest) {
  const auto add = [](std::uint64_t sum) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(sum, kNoLimit));
  };
  if (node.kind == Kind::one) return 1;
  if (node.kind == Kind::look) return 0;
  if (node.kind == Kind::repeat) {
    const std::uint64_t inner = width(node.children[0], longest);
    const std::uint32_t times = longest ? node.max : node.min;
    return times == kNoLimit && inner > 0 ? kNoLimit : add(inner * times);
  }
  std::uint32_t total = node.kind == Kind::choice && !longest ? kNoLimit : 0;
  for (const PatternNode& child : node.children) {
    const std::uint32_t inner = width(child, longest);
    if (node.kind == Kind::sequence)
      total = add(std::uint64_t{total} + inner);
    else
      total = longest ? std::max(total, inner) : std::min(total, inner);
  }
  return total;
}

/// In how many ways a tree without unlimited repetitions can be tried, at most.
double paths(const PatternNode& node) {
  if (node.kind == Kind::one) return 1;
  if (node.kind == Kind::repeat) {
    const double inner = paths(node.children[0]);
    double total = 0, power = 1;
    for (std::uint32_t i = 0; i <= node.max && total < 1e6; ++i, power *= inner)
      if (i >= node.min) total += power;
    return total;
  }
  double total = node.kind == Kind::choice ? 0 : 1;
  for (const PatternNode& child : node.children)
    total = node.kind == Kind::choice ? total + paths(child) : total * paths(child);
  return total;
}

class Compiler {
 public:
  explicit Compiler(std::string_view pattern) : pattern_(pattern) {}

  void emit(const PatternNode& node) {
    switch (node.kind) {
      case Kind::one:
        add(Op::one, add_class(node.chars));
        break;
      case Kind::sequence:
        for (const PatternNode& child : node.children) emit(child);
        break;
      case Kind::choice:
        emit_choice(node);
        break;
      case Kind::repeat:
        emit_repeat(node);
        break;
      case Kind::look:
        emit_look(node);
        break;
    }
  }

  std::uint32_t add(Op op, std::uint32_t a = 0, std::uint32_t b = 0, bool flag = false) {
    constexpr std::size_t kMaxInstructions = 10000;
    if (program.size() == kMaxInstructions) refuse("more than 10000 instructions");
    SplitPattern::Instruction in{op, flag, a, b, 0};
    if (op == Op::run || op == Op::up_to || op == Op::split) in.slot = slots++;
    constexpr std::uint32_t kMaxSlots = 256;  // bits per byte of text
    if (slots > kMaxSlots) refuse("more than 256 choices");
    program.push_back(in);
    return static_cast<std::uint32_t>(program.size() - 1);
  }

  std::vector<SplitPattern::Instruction> program;
  std::vector<CharClass> classes;
  std::uint32_t slots = 0;

 private:
  [[noreturn]] void refuse(std::string_view why) const { refuse_pattern(pattern_, 0, why); }
  [[nodiscard]] std::uint32_t here() const noexcept {
    return static_cast<std::uint32_t>(program.size());
  }

  std::uint32_t add_class(const CharClass& chars) {
    classes.push_back(chars);
    classes.back().seal();
    return static_cast<std::uint32_t>(classes.size() - 1);
  }

  void emit_choice(const PatternNode& node) {
    std::vector<std::uint32_t> ends;
    for (std::size_t i = 0; i < node.children.size(); ++i) {
      const bool last = i + 1 == node.children.size();
      const std::uint32_t split = last ? 0 : add(Op::split, here() + 1);
      emit(node.children[i]);
      if (last) break;
      ends.push_back(add(Op::jump));
      program[split].b = here();
    }
    for (const std::uint32_t end : ends) program[end].a = here();
  }

  void emit_repeat(const PatternNode& node) {
    const PatternNode& body = node.children[0];
    if (body.kind == Kind::one) return emit_class_repeat(node);
    if (node.flag) refuse("a possessive group");
    if (width(body, true) == 0 || (node.max == kNoLimit && width(body, false) == 0))
      refuse("a repeated group that may be empty");
    for (std::uint32_t i = 0; i < node.min; ++i) emit(body);
    if (node.max == kNoLimit) {
      const std::uint32_t split = add(Op::split, here() + 1);
      emit(body);
      add(Op::jump, split);
      program[split].b = here();
      return;
    }
    std::vector<std::uint32_t> splits;
    for (std::uint32_t i = node.min; i < node.max; ++i) {
      splits.push_back(add(Op::split, here() + 1));
      emit(body);
    }
    for (const std::uint32_t split : splits) program[split].b = here();
  }

  void emit_class_repeat(const PatternNode& node) {
    const std::uint32_t index = add_class(node.children[0].chars);
    for (std::uint32_t i = 0; i < node.min; ++i) add(Op::one, index);
    if (node.max == kNoLimit)
      add(Op::run, index, 0, node.flag);
    else if (node.max > node.min)
      add(Op::up_to, index, node.max - node.min, node.flag);
  }

  void emit_look(const PatternNode& node) {
    constexpr std::uint32_t kMaxWidth = 64;  // what fails in it is not remembered
    constexpr double kMaxPaths = 256;
    if (width(node.children[0], true) > kMaxWidth || !(paths(node.children[0]) <= kMaxPaths))
      refuse("a lookahead of this size");
    const std::uint32_t look = add(Op::look, 0, 0, node.flag);
    emit(node.children[0]);
    add(Op::match);
    program[look].a = here();
  }

  std::string_view pattern_;
};

}  // namespace

SplitPattern SplitPattern::compile(std::string_view pattern) {
  if (pattern.empty()) refuse_pattern(pattern, 0, "nothing to match");
  Compiler compiler(pattern);
  compiler.emit(parse_pattern(pattern));
  compiler.add(Op::match);
  SplitPattern result;
  result.program_ = std::move(compiler.program);
  result.classes_ = std::move(compiler.classes);
  result.slots_ = compiler.slots;
  return result;
}

SplitPattern SplitPattern::literal(std::string_view text) {
  if (text.empty()) refuse_pattern(text, 0, "nothing to match");
  SplitPattern result;
  result.literal_ = text;
  return result;
}

}  // namespace qeff
