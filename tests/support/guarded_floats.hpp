/// @file
/// Memory that faults right behind its last element.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>

namespace qeff::test {

/// Floats that end where the next page begins, which faults on access.
struct GuardedFloats {
  explicit GuardedFloats(std::size_t count) {
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    bytes = (count * sizeof(float) + page - 1) / page * page + page;
    base = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base + bytes - page, page, PROT_NONE);
    data = reinterpret_cast<float*>(base + bytes - page) - count;
  }
  GuardedFloats(const GuardedFloats&) = delete;
  GuardedFloats& operator=(const GuardedFloats&) = delete;
  ~GuardedFloats() { munmap(base, bytes); }
  char* base;
  std::size_t bytes;
  float* data;
};

}  // namespace qeff::test
