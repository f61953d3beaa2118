// What the executable allocates with operator new: counted_new.cpp replaces it.
#pragma once

#include <cstddef>

namespace qeff::test {

/// Allocations since the program started, of all threads.
std::size_t allocations() noexcept;

}  // namespace qeff::test
