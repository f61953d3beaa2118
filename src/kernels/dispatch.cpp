#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/cpu.hpp"
#include "kernels/load_tuning.hpp"
#include "kernels/self_test.hpp"
#include "kernels/tables.hpp"
#include "qeff/core/error.hpp"
#include "qeff/kernels/isa.hpp"

namespace qeff::kernels {
namespace {

constexpr std::array<std::string_view, 8> kNames{
    "portable", "avx2", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx", "neon_dot", "neon_i8mm"};

/// The kernels of `isa` if this build has them.
const KernelTable* built(Isa isa) noexcept {
  switch (isa) {
    case Isa::portable: return &portable_table;
#if defined(__x86_64__)
    case Isa::avx2: return &avx2_table;
    case Isa::avx_vnni: return &avx_vnni_table;
    case Isa::avx512_vnni: return &avx512_vnni_table;
    case Isa::avx512_bf16: return &avx512_bf16_table;
    case Isa::amx: return &amx_table;
#elif defined(__aarch64__)
    case Isa::neon_dot: return &neon_dot_table;
    case Isa::neon_i8mm: return &neon_i8mm_table;
#endif
    default: return nullptr;
  }
}

/// ISAs that this build has, this CPU has, and whose products are right on this machine.
const std::vector<Isa>& usable() {
  static const std::vector<Isa> isas = [] {
    std::vector<Isa> kept;
    for (const Isa isa : detect_isas())
      if (const KernelTable* t = built(isa); t && products_are_right(*t)) kept.push_back(isa);
    return kept;
  }();
  return isas;
}

std::string all_names() {
  std::string text;
  for (const auto n : kNames) text += (text.empty() ? "" : ", ") + std::string(n);
  return text;
}

std::atomic<const KernelTable*> chosen{nullptr};

}  // namespace

std::string_view name(Isa isa) noexcept { return kNames[static_cast<std::size_t>(isa)]; }

std::optional<Isa> isa_from_name(std::string_view text) noexcept {
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == text) return static_cast<Isa>(i);
  return std::nullopt;
}

const KernelTable& strongest(const char* limit) {
  if (!limit || !*limit) return *built(usable().back());
  const auto isa = isa_from_name(limit);
  require(isa.has_value(), "QEFF_MAX_ISA: unknown ISA \"", limit, "\"; known are ", all_names());
  require(built(*isa) != nullptr, "QEFF_MAX_ISA: ", limit, " kernels are for another architecture");
  Isa most = Isa::portable;
  for (const Isa candidate : usable())
    if (candidate <= *isa) most = candidate;
  return *built(most);
}

std::span<const Isa> supported_isas() { return usable(); }

const KernelTable& table(Isa isa) {
  for (const Isa have : usable())
    if (have == isa) return *built(isa);
  throw Unsupported(str("this CPU (", cpu_model(), ") cannot run ", name(isa), " kernels"));
}

const KernelTable& active() {
  if (const KernelTable* t = chosen.load(std::memory_order_acquire)) return *t;
  static const KernelTable& first = []() -> const KernelTable& {
    const KernelTable& t = strongest(std::getenv("QEFF_MAX_ISA"));
    load_tuning(t.isa);
    return t;
  }();
  return first;
}

void set_active_table(const KernelTable* table) noexcept { chosen.store(table, std::memory_order_release); }

void set_active(std::optional<Isa> isa) { set_active_table(isa ? &table(*isa) : nullptr); }

std::string cpu_model() { return detect_cpu_model(); }

}  // namespace qeff::kernels
