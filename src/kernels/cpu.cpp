#include "kernels/cpu.hpp"

#include <cstdint>
#include <fstream>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace qeff::kernels {
namespace {

#if defined(__x86_64__)

struct Leaf {
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
};

Leaf cpuid(std::uint32_t leaf, std::uint32_t sub = 0) noexcept {
  Leaf r;
  if (!__get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d)) return {};
  return r;
}

constexpr bool bit(std::uint32_t word, int index) noexcept { return (word >> index & 1u) != 0; }

/// Register states the operating system saves (XCR0); 0 without XSAVE.
std::uint64_t saved_states() noexcept {
  if (!bit(cpuid(1).c, 27)) return 0;
  std::uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32 | low;
}

/// Linux hands out the 8 KB tile registers only on request, once per process.
bool request_amx() noexcept {
  constexpr int kArchReqXcompPerm = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0;
}

#endif

}  // namespace

std::vector<Isa> detect_isas() {
  std::vector<Isa> isas{Isa::portable};
#if defined(__x86_64__)
  const Leaf one = cpuid(1), seven = cpuid(7), seven_one = cpuid(7, 1);
  const std::uint64_t states = saved_states();
  const bool ymm = (states & 0x6) == 0x6, zmm = (states & 0xe6) == 0xe6;
  const bool tiles = (states >> 17 & 3) == 3;
  const bool avx2 = ymm && bit(one.c, 28) && bit(one.c, 12) && bit(one.c, 29) && bit(seven.b, 5) && bit(seven.b, 8);
  if (!avx2) return isas;
  isas.push_back(Isa::avx2);
  if (bit(seven_one.a, 4)) isas.push_back(Isa::avx_vnni);
  const bool vnni = zmm && bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 30) && bit(seven.b, 31) &&
                    bit(seven.c, 11);
  if (!vnni) return isas;
  isas.push_back(Isa::avx512_vnni);
  if (!bit(seven_one.a, 5) || !bit(seven.c, 1)) return isas;
  isas.push_back(Isa::avx512_bf16);
  if (tiles && bit(seven.d, 24) && bit(seven.d, 25) && bit(seven.d, 22) && request_amx())
    isas.push_back(Isa::amx);
#elif defined(__aarch64__)
  constexpr unsigned long kDotProduct = 1ul << 20, kInt8Matrix = 1ul << 13;  // HWCAP_ASIMDDP, HWCAP2_I8MM
  if (getauxval(AT_HWCAP) & kDotProduct) {
    isas.push_back(Isa::neon_dot);
    if (getauxval(AT_HWCAP2) & kInt8Matrix) isas.push_back(Isa::neon_i8mm);
  }
#endif
  return isas;
}

std::string detect_cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) {
      const auto at = line.find(':');
      return at == std::string::npos || at + 2 > line.size() ? "" : line.substr(at + 2);
    }
  return {};
}

}  // namespace qeff::kernels
