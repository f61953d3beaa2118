/// @file
/// The threads of qeff: one persistent team, explicit size, no OpenMP.
///
/// Between calls the threads of a team stay awake for some 50 microseconds, then sleep. No more threads
/// wait awake than the process has CPUs, however many teams there are.
///
/// A team survives fork (the child starts its own), rethrows the first exception of a task in the
/// caller, and runs nested calls in place instead of nesting teams. What a task computes may not
/// depend on which thread runs it: results are the same bytes for any number of threads.
#pragma once

#include <cstddef>
#include <memory>

#include "qeff/core/function_ref.hpp"

namespace qeff {

/// What is done with the index of a task.
using TaskRef = FunctionRef<void(std::size_t)>;

/// A team of threads, the caller included.
class Executor {
 public:
  /// @param threads  Size of the team; 0 takes default_threads(), more than that is cut to it.
  explicit Executor(std::size_t threads = 0);
  ~Executor();
  Executor(Executor&&) noexcept;
  Executor& operator=(Executor&&) noexcept;

  [[nodiscard]] std::size_t threads() const noexcept;

  /// Calls task(i) once for each i in [0, count), and returns when all are done. Each thread takes
  /// tasks in ascending order; threads that have not begun when the rest is done are not waited for.
  /// Thread-safe: a second caller waits for the first.
  /// @throws the first exception a task threw; the remaining tasks are then skipped.
  void run(std::size_t count, TaskRef task);

  /// The same, but thread t of T always takes the tasks [count * t / T, count * (t + 1) / T), thread 0
  /// being the caller: data that a part of the tasks streams stays in the cache of its CPU from one
  /// call to the next.
  void run_static(std::size_t count, TaskRef task);

  /// Threads this process may use: affinity mask, cgroup quota and QEFF_NUM_THREADS respected.
  [[nodiscard]] static std::size_t default_threads();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace qeff
