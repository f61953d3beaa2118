/// @file
/// The compiler extensions the library needs; there are no other macros.
#pragma once

/// For operations of a Simd policy: inlined even without optimization, so that no out-of-line copy
/// compiled with one ISA's flags can be linked into code for another.
#if defined(_MSC_VER)
#define QEFF_INLINE __forceinline
#define QEFF_INLINE_LAMBDA
#else
#define QEFF_INLINE [[gnu::always_inline]] inline
#define QEFF_INLINE_LAMBDA __attribute__((always_inline))  ///< The same, after a lambda's parameters.
#endif
