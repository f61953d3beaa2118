/// @file
/// The roof of this machine: how fast its cores multiply and read when they do nothing else.
///
/// No kernel can take less time than max(bytes / bandwidth, operations / peak) (the roofline model,
/// Williams, Waterman and Patterson 2009). Everything is measured, nothing is looked up; each figure is
/// the best of its repetitions.
#pragma once

#include <cstddef>

#include "qeff/core/executor.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/packed_weights.hpp"

namespace qeff::kernels {

/// A rate of one thread alone, and of all threads of the team together. 0: there is none.
struct Rate {
  double one = 0;
  double all = 0;
};

/// 1e9 operations a second of one kind of product; a multiplication and its addition are 2 operations.
struct ProductRoof {
  Rate registers;  ///< Operands stay in registers.
  Rate fed_l1;     ///< The matmuls' register tile, both operands in the first-level cache.
  Rate fed_l2;     ///< The same with weights from the second-level cache.
};

/// Bytes a core can call its own (l1, l2; a usual size if the system does not say) and bytes all share
/// (l3; 0: none).
struct CacheSizes {
  std::size_t l1 = 0, l2 = 0, l3 = 0;
};

/// See the head of the file.
struct Roof {
  Isa isa = Isa::portable;
  std::size_t threads = 1;
  CacheSizes caches;
  ProductRoof int8;
  ProductRoof u4;    ///< int8 by 4-bit codes; registers only.
  ProductRoof i16;   ///< int16 by 4-bit codes; registers only, 0 where bf16 or float32 do it.
  ProductRoof bf16;  ///< 0 where the ISA has no such product: float32 does it.
  ProductRoof f32;
  Rate l1, l2, l3, memory;  ///< 1e9 bytes read a second, by where they are.

  /// The most operations a second (1e9) of weights of this kind, from registers with all threads.
  [[nodiscard]] double peak(WeightFormat format, Activations activations) const noexcept;
  /// Where `bytes` that all threads share out fit: "L1", "L2", "L3" or "memory".
  [[nodiscard]] const char* level(std::size_t bytes) const noexcept;
  /// Bandwidth of that level with all threads, 1e9 bytes a second.
  [[nodiscard]] double bandwidth(std::size_t bytes) const noexcept;
};

/// Caches of the first CPU.
[[nodiscard]] CacheSizes cache_sizes();

/// Measures the roof of the active ISA with the threads of the executor, in about `seconds`. Needs memory
/// of four times the last-level cache (64 MB to 512 MB).
/// @throws InvalidArgument if seconds is not positive; std::bad_alloc
[[nodiscard]] Roof measure_roof(double seconds, Executor& executor);

inline constexpr double kRoofSeconds = 1.5;  ///< Enough where nothing else runs.

/// measure_roof(kRoofSeconds, executor), once in a process for each ISA and number of threads.
[[nodiscard]] const Roof& measured_roof(Executor& executor);

}  // namespace qeff::kernels
