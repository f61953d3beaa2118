/// @file
/// Waiting for a change of an atomic: awake for a bounded time, then asleep.
///
/// A thread polls for about a microsecond whatever happens. To go on it needs one of the process's
/// slots, of which there are as many as CPUs: with several teams no CPU is spent on spinning that
/// another thread could work on.
#pragma once

#include <atomic>
#include <chrono>

namespace qeff {

/// The right to wait awake. A worker keeps its slot while it works and gives it back when it sleeps.
class SpinSlot {
 public:
  SpinSlot() = default;
  SpinSlot(const SpinSlot&) = delete;
  SpinSlot& operator=(const SpinSlot&) = delete;
  ~SpinSlot() { give(); }

  /// Whether this is or becomes one of at most `cpus` slots taken.
  bool take(int cpus) noexcept {
    if (!held_ && taken.fetch_add(1, std::memory_order_relaxed) >= cpus)
      taken.fetch_sub(1, std::memory_order_relaxed);
    else
      held_ = true;
    return held_;
  }
  void give() noexcept {
    if (held_) taken.fetch_sub(1, std::memory_order_relaxed);
    held_ = false;
  }

  inline static std::atomic<int> taken{0};  ///< By all threads of the process; 0 again after fork.

 private:
  bool held_ = false;
};

inline void relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Polls 32 times: 0.3 to 1.5 microseconds, as long as `pause` takes on the CPU.
template <class T>
[[nodiscard]] bool changes_soon(const std::atomic<T>& value, T old) noexcept {
  for (int i = 0; i < 32; ++i) {
    if (value.load(std::memory_order_acquire) != old) return true;
    relax();
  }
  return false;
}

/// How long a thread with a slot waits awake: longer than the serial steps between the matmuls of a
/// short sentence, shorter than anybody's patience.
inline constexpr std::chrono::microseconds kSpinTime{50};

/// Returns when `value` is not `old`. T is 4 bytes wide, what a futex waits for.
template <class T>
void wait_change(std::atomic<T>& value, T old, SpinSlot& slot, int cpus) noexcept {
  static_assert(sizeof(T) == 4);
  if (changes_soon(value, old)) return;
  if (slot.take(cpus)) {
    const auto end = std::chrono::steady_clock::now() + kSpinTime;
    do {
      if (changes_soon(value, old)) return;
    } while (std::chrono::steady_clock::now() < end);
    slot.give();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace qeff
