#include <qeff/qeff.hpp>

std::string_view version_seen_by_second() { return qeff::version; }
