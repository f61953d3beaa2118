// Counts what the whole executable allocates: operator new is replaced for all tests of this room.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include "scripted_model.hpp"

namespace {
std::atomic<std::size_t> allocations{0};

void* counted(std::size_t size, std::size_t alignment) {
  ++allocations;
  const std::size_t whole = (size + alignment - 1) / alignment * alignment;
  void* const memory = alignment > alignof(std::max_align_t) ? std::aligned_alloc(alignment, whole)
                                                             : std::malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

void* operator new(std::size_t size) { return counted(size, 1); }
void* operator new[](std::size_t size) { return counted(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace qeff::test {
namespace {

/// Allocations between the second token of the first text and its last one.
std::size_t allocations_while_writing(const GenerationOptions& options) {
  ScriptedModel model(4, 128, 97);
  const std::vector<Tokens> prompts = {{1, 2, 3}, {4}, {5, 6, 5, 6}, {7, 7, 7, 7, 7, 7, 7, 7}};
  std::size_t from = 0, until = 0;
  (void)Generator(model).generate(prompts, options, [&](const TokenEvent& event) {
    if (event.prompt == 0 && event.index == 1) from = allocations;
    if (event.prompt == 0) until = allocations;
    return true;
  });
  EXPECT_GT(from, 0u);
  return until - from;
}

TEST(Allocations, AreCounted) {
  const std::size_t before = allocations;
  const std::vector<int> some(100);
  EXPECT_EQ(allocations - before, some.size() / 100);
}

TEST(Allocations, NoneAreMadeWhileTokensAreGenerated) {
  GenerationOptions options{.max_new_tokens = 100};
  EXPECT_EQ(allocations_while_writing(options), 0u) << "greedy";
  options.top_logprobs = 5;
  options.stop = {"nowhere to be found"};
  options.decoder = [] {
    return [](std::int32_t id, std::string& text) { text += static_cast<char>('a' + id % 26); };
  };
  options.prompt_lookup_num_tokens = 4;
  EXPECT_EQ(allocations_while_writing(options), 0u) << "prompt lookup";
  options.sampling = {.temperature = 1, .top_p = 0.9f, .repetition_penalty = 1.1f};
  EXPECT_EQ(allocations_while_writing(options), 0u) << "top-p";
  options.sampling.top_k = 40;
  options.sampling.min_p = 0.05f;
  EXPECT_EQ(allocations_while_writing(options), 0u) << "top-k, min-p";
}

}  // namespace
}  // namespace qeff::test
