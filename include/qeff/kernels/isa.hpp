/// @file
/// The instruction sets qeff has kernels for, which of them this CPU has, and which one is used.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace qeff::kernels {

/// Ordered within an architecture: a later one includes the earlier ones.
enum class Isa : std::uint8_t {
  portable,
  avx2,         ///< AVX2 + FMA + F16C (Haswell 2013, Zen 2017)
  avx_vnni,     ///< + AVX-VNNI (Alder Lake 2021, Zen 5)
  avx512_vnni,  ///< AVX-512 F/BW/DQ/VL/VNNI (Cascade Lake 2019, Zen 4)
  avx512_bf16,  ///< + AVX-512 BF16 and VBMI (Zen 4, Sapphire Rapids)
  amx,          ///< + AMX tiles int8 and bf16 (Sapphire Rapids 2023)
  neon_dot,     ///< Armv8.2 dot product
  neon_i8mm     ///< + Armv8.6 int8 matrix multiply
};

struct KernelTable;

/// Lower-case name, as QEFF_MAX_ISA spells it.
[[nodiscard]] std::string_view name(Isa isa) noexcept;
[[nodiscard]] std::optional<Isa> isa_from_name(std::string_view name) noexcept;

/// What this CPU and operating system can run, weakest first; always starts with portable.
[[nodiscard]] std::span<const Isa> supported_isas();

/// The kernels in use: the strongest supported ISA not above QEFF_MAX_ISA. Decided on first use.
/// @throws InvalidArgument if QEFF_MAX_ISA names no ISA; the message lists the names.
[[nodiscard]] const KernelTable& active();

/// The kernels of one ISA. @throws Unsupported if this CPU lacks it.
[[nodiscard]] const KernelTable& table(Isa isa);

/// Overrides what active() returns, for tests and tools. nullopt returns to the default.
void set_active(std::optional<Isa> isa);

/// Marketing name of the CPU, e.g. "AMD EPYC"; empty if unknown.
[[nodiscard]] std::string cpu_model();

}  // namespace qeff::kernels
