#include "interrupt.hpp"

#include <atomic>
#include <csignal>

namespace qeff::cli {
namespace {

std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free);

}  // namespace

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = true; };
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);  // without SA_RESTART
}

bool take_interrupt() noexcept { return interrupted.exchange(false); }

void check_interrupt() {
  if (take_interrupt()) throw Interrupted();
}

}  // namespace qeff::cli
