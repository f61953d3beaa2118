// The roof of this machine as text or as one JSON document: what its cores multiply and read at best.
// QEFF_MAX_ISA chooses the instruction set. Nothing else should run beside it.
//
//   roof_bench [--json] [--seconds 4] [--threads 2]
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>

#include "qeff/kernels/roof.hpp"

namespace {

using qeff::kernels::ProductRoof;
using qeff::kernels::Rate;
using qeff::kernels::Roof;

/// f(name, rate) for every figure; rates of products in 1e9 operations, of reading in 1e9 bytes a second.
template <class F>
void each_rate(const Roof& roof, F&& f) {
  const auto product = [&](const std::string& name, const ProductRoof& p) {
    f(name + " registers", p.registers);
    f(name + " fed from L1", p.fed_l1);
    f(name + " fed from L2", p.fed_l2);
  };
  product("int8", roof.int8);
  product("u4", roof.u4);
  product("i16", roof.i16);
  product("bf16", roof.bf16);
  product("f32", roof.f32);
  f("read L1", roof.l1);
  f("read L2", roof.l2);
  f("read L3", roof.l3);
  f("read memory", roof.memory);
}

void print_text(const Roof& roof) {
  std::printf("%s, %zu threads, L1 %zu KB and L2 %zu KB a core, L3 %zu KB\n\n",
              std::string(qeff::kernels::name(roof.isa)).c_str(), roof.threads, roof.caches.l1 >> 10,
              roof.caches.l2 >> 10, roof.caches.l3 >> 10);
  std::printf("%-20s %12s %12s\n", "G op/s, GB/s", "one thread", "all threads");
  each_rate(roof, [](const std::string& name, Rate rate) {
    if (rate.one > 0) std::printf("%-20s %12.1f %12.1f\n", name.c_str(), rate.one, rate.all);
  });
}

void print_json(const Roof& roof) {
  std::printf("{\"isa\": \"%s\", \"threads\": %zu, \"caches\": [%zu, %zu, %zu]",
              std::string(qeff::kernels::name(roof.isa)).c_str(), roof.threads, roof.caches.l1, roof.caches.l2,
              roof.caches.l3);
  each_rate(roof, [](const std::string& name, Rate rate) {
    if (rate.one > 0) std::printf(", \"%s\": {\"one\": %.3f, \"all\": %.3f}", name.c_str(), rate.one, rate.all);
  });
  std::printf("}\n");
}

}  // namespace

int main(int argc, char** argv) try {
  bool json = false;
  double seconds = 4;
  std::size_t threads = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--json") {
      json = true;
    } else if (option == "--seconds" && i + 1 < argc) {
      seconds = std::atof(argv[++i]);
    } else if (option == "--threads" && i + 1 < argc) {
      threads = static_cast<std::size_t>(std::atol(argv[++i]));
    } else {
      std::fprintf(stderr, "usage: roof_bench [--json] [--seconds 4] [--threads 2]\n");
      return 2;
    }
  }
  qeff::Executor executor(threads);
  const Roof roof = qeff::kernels::measure_roof(seconds, executor);
  json ? print_json(roof) : print_text(roof);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "roof_bench: %s\n", error.what());
  return 1;
}
