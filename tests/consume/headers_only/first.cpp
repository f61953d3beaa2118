// With second.cpp: all public headers in two translation units of one program.
#include <qeff/qeff.hpp>

std::string_view version_seen_by_second();

int main() { return version_seen_by_second() == qeff::version ? 0 : 1; }
