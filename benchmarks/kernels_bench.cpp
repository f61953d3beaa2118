// Matmuls with packed weights on every ISA of this machine, float32 in and out, activation
// preparation included. Counters: GOPS (2 m n k per second) and the bytes of weights streamed per second.
//
//   kernels_bench --benchmark_filter='i8/avx2'
#include <benchmark/benchmark.h>

#include "support/packed_problem.hpp"
#include "qeff/kernels/isa.hpp"

namespace qeff {
namespace {

struct Shape {
  std::size_t m, n, k;
};
constexpr Shape kShapes[] = {{1, 4096, 4096},   {16, 4096, 4096},  {256, 4096, 4096},
                             {2048, 1536, 384}, {2048, 384, 1536}, {2048, 384, 384}};

constexpr struct {
  test::Scheme scheme;
  const char* name;
} kCases[] = {{test::Scheme::i8, "i8"},   {test::Scheme::u4, "u4_g128"},     {test::Scheme::u4_int8, "u4_g128_int8"},
              {test::Scheme::nf4_int8, "nf4_int8"},
              {test::Scheme::nf4, "nf4"}, {test::Scheme::e4m3, "e4m3"}, {test::Scheme::bf16, "bf16"},
              {test::Scheme::f32, "f32"}};

void run(benchmark::State& state, test::Scheme scheme, Shape shape, kernels::Isa isa) {
  kernels::set_active(isa);
  const auto p = test::random_problem(scheme, shape.m, shape.n, shape.k, scheme == test::Scheme::e4m3 ? 0 : 128);
  std::vector<float> y(shape.m * shape.n);
  Executor executor;
  for (auto _ : state)
    matmul({p.x.data(), p.m, p.k}, p.packed.view, {y.data(), p.m, p.n}, {}, executor);
  const double rounds = static_cast<double>(state.iterations());
  const double products = static_cast<double>(shape.m * shape.n * shape.k);
  state.counters["GOPS"] = benchmark::Counter(2e-9 * products * rounds, benchmark::Counter::kIsRate);
  state.counters["GB/s"] =
      benchmark::Counter(1e-9 * static_cast<double>(p.packed.nbytes()) * rounds, benchmark::Counter::kIsRate);
  kernels::set_active(std::nullopt);
}

void register_all() {
  for (const kernels::Isa isa : kernels::supported_isas())
    for (const auto& c : kCases)
      for (const Shape s : kShapes) {
        const std::string name = std::string(c.name) + "/" + std::string(kernels::name(isa)) + "/" +
                                 std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k);
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, c.scheme, s, isa); })
            ->UseRealTime();
      }
}

}  // namespace
}  // namespace qeff

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  qeff::register_all();
  benchmark::RunSpecifiedBenchmarks();
}
