// What it costs to hand work to a team of two threads and to have it back: the difference between a
// call and what its tasks take. Compare the medians; the threads need a CPU each.
//
//   executor_bench --benchmark_min_time=0.2
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstddef>

#include "qeff/core/executor.hpp"

namespace qeff {
namespace {

void work_for(std::chrono::nanoseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) benchmark::ClobberMemory();
}

void check(benchmark::State& state, const Executor& executor) {
  if (executor.threads() < 2) state.SkipWithError("this process may use one CPU only");
}

/// Both threads take part in each call: a barrier and back.
void static_call(benchmark::State& state) {
  Executor executor(2);
  check(state, executor);
  const std::chrono::nanoseconds time{state.range(0)};
  for (auto _ : state) executor.run_static(2, [&](std::size_t) { work_for(time); });
}

/// Tasks for whoever comes first.
void call(benchmark::State& state) {
  Executor executor(2);
  check(state, executor);
  const std::chrono::nanoseconds time{state.range(0)};
  for (auto _ : state) executor.run(static_cast<std::size_t>(state.range(1)), [&](std::size_t) { work_for(time); });
}

/// The team sleeps before each call.
void call_of_sleepers(benchmark::State& state) {
  Executor executor(2);
  check(state, executor);
  for (auto _ : state) {
    state.PauseTiming();
    work_for(std::chrono::microseconds{500});
    state.ResumeTiming();
    executor.run_static(2, [](std::size_t) {});
  }
}

void settings(benchmark::internal::Benchmark* b) { b->UseRealTime()->Repetitions(9)->ReportAggregatesOnly(); }

BENCHMARK(static_call)->ArgName("ns")->Arg(0)->Arg(5000)->Apply(settings);
BENCHMARK(call)->ArgNames({"ns", "tasks"})->Args({0, 2})->Args({0, 64})->Args({5000, 2})->Args({5000, 6})->Apply(settings);
BENCHMARK(call_of_sleepers)->Iterations(200)->Apply(settings);

}  // namespace
}  // namespace qeff
