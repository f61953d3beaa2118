/// @file
/// The thread teams of the Python process: one for each size asked for, kept until the end.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>

#include "qeff/core/executor.hpp"

namespace qeff::python {

/// The team of `threads` (0: all this process may use). Call without the GIL held: a team serves
/// one caller at a time.
inline Executor& executor_of(std::size_t threads) {
  static std::mutex mutex;
  static auto* const teams = new std::map<std::size_t, std::unique_ptr<Executor>>;  // outlives exit
  const std::scoped_lock lock(mutex);
  auto& team = (*teams)[threads];
  if (!team) team = std::make_unique<Executor>(threads);
  return *team;
}

}  // namespace qeff::python
