/// @file
/// Numbers that decide which kernel multiplies and how work is cut. Results never depend on them.
///
/// Taken once, when kernels are first used: the defaults below, over them the file `qeff tune` left for this
/// machine (tuning_file), over both the environment variable QEFF_TUNING, as in `QEFF_TUNING=part_work=2000000`.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "qeff/core/macros.hpp"

namespace qeff {
class Executor;
}

namespace qeff::kernels {

struct Tuning {
  std::size_t byte_rows = 16;      ///< AVX2, int8: up to so many rows, products of bytes; beyond, of 16-bit words.
  std::size_t nibble_rows = 4;     ///< ISAs with tiles, 4-bit by int8: up to so many rows, vectors; beyond, tiles.
  std::size_t decode_rows = 48;    ///< AVX-512 VNNI, 4-bit by int8: up to so many rows, nibbles; beyond, decoded
                                   ///< bytes. By bf16: up to twice as many; beyond, decoded words of 16 bits.
  std::size_t parallel_work = 200'000;  ///< Products below which handing work to another thread costs more than it saves.
  std::size_t part_work = 1'000'000;    ///< Products of one part of a large matmul, which no thread waits for long.
  std::size_t activation_bytes = std::size_t{4} << 20;  ///< Prepared activations of one pass over the weights.

  bool operator==(const Tuning&) const = default;
};

/// Written before the first kernel runs and by set_tuning; read it by tuning().
extern Tuning tuning_in_use;

/// Those in use. active() loads them and throws InvalidArgument if the file or QEFF_TUNING is malformed.
[[nodiscard]] QEFF_INLINE const Tuning& tuning() noexcept { return tuning_in_use; }

/// Overrides what tuning() returns, for tests and tools, while no kernel runs. nullopt returns to the default.
void set_tuning(const std::optional<Tuning>& tuning);

/// `base` with the values of a text like "byte_rows=16,part_work=500000" (commas or line ends between them).
/// @throws InvalidArgument naming `where` and the name or value that makes no sense.
[[nodiscard]] Tuning parse_tuning(std::string_view text, const Tuning& base, std::string_view where);

/// What parse_tuning reads, one value a line.
[[nodiscard]] std::string to_string(const Tuning& tuning);

/// The file of this CPU model and the active ISA, in QEFF_CACHE or the user's cache directory; it need not be there.
[[nodiscard]] std::string tuning_file();

/// Times matmuls of this machine with other values, in about `seconds`, and returns those that are clearly (8 %)
/// faster than the defaults. Nothing else should run meanwhile.
[[nodiscard]] Tuning measure_tuning(double seconds, Executor& executor);

}  // namespace qeff::kernels
