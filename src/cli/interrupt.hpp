/// @file
/// Ctrl-C as a flag that is looked at between tokens and between the steps of long work.
#pragma once

#include <exception>

namespace qeff::cli {

/// Thrown where Ctrl-C ends the program.
class Interrupted : public std::exception {
 public:
  [[nodiscard]] const char* what() const noexcept override { return "interrupted"; }
};

/// From now on Ctrl-C sets the flag; a read that waits for input returns.
void catch_interrupts();
/// Whether Ctrl-C was pressed since the last call; takes the flag down.
[[nodiscard]] bool take_interrupt() noexcept;
/// @throws Interrupted if Ctrl-C was pressed.
void check_interrupt();

}  // namespace qeff::cli
