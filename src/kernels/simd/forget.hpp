/// @file
/// For measuring loops: the compiler forgets what it knows of a value in registers, so that it can
/// neither move a product of it out of a loop nor use one product twice. No instruction is executed.
#pragma once

#include <type_traits>

#include "qeff/core/macros.hpp"

namespace qeff::kernels::simd {

/// V: a vector, a struct of vectors of any policy, or anything that may go through memory.
template <class V>
QEFF_INLINE void forget(V& v) noexcept {
  if constexpr (requires { v.lo; v.hi; }) {
    forget(v.lo);
    forget(v.hi);
  } else if constexpr (requires { v.code; v.magnitude; }) {
    forget(v.code);
    forget(v.magnitude);
  } else if constexpr (requires { v.v; }) {
    forget(v.v);
  } else if constexpr (requires { v.q[3]; }) {
    for (auto& part : v.q) forget(part);
  } else if constexpr (std::is_class_v<V>) {
    asm volatile("" : "+m"(v));
  } else {
#if defined(__aarch64__)
    asm volatile("" : "+w"(v));
#else
    asm volatile("" : "+v"(v));
#endif
  }
}

}  // namespace qeff::kernels::simd
