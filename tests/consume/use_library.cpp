// Links the compiled library and asks it something that runs code of core, io and kernels.
#include <qeff/qeff.hpp>

#include <iostream>

int main() {
  if (qeff::kernels::supported_isas().empty()) return 1;
  std::cout << "qeff " << qeff::version << ", " << qeff::kernels::name(qeff::kernels::active().isa) << '\n';
  try {
    (void)qeff::load("no-such-file.qeff");
  } catch (const qeff::Error& error) {
    std::cout << error.what() << '\n';
    return 0;
  }
  return 2;
}
