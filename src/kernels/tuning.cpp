#include "qeff/kernels/tuning.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <utility>

#include "kernels/load_tuning.hpp"
#include "qeff/core/cache_directory.hpp"
#include "qeff/core/error.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {
namespace {

constexpr std::array<std::pair<std::string_view, std::size_t Tuning::*>, 6> kValues{{
    {"byte_rows", &Tuning::byte_rows},
    {"nibble_rows", &Tuning::nibble_rows},
    {"decode_rows", &Tuning::decode_rows},
    {"parallel_work", &Tuning::parallel_work},
    {"part_work", &Tuning::part_work},
    {"activation_bytes", &Tuning::activation_bytes},
}};

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r"), last = text.find_last_not_of(" \t\r");
  return first == text.npos ? std::string_view{} : text.substr(first, last - first + 1);
}

void set_value(Tuning& tuning, std::string_view line, std::string_view where) {
  const auto equals = line.find('=');
  require(equals != line.npos, where, ": \"", line, "\" is not of the form name=value");
  const std::string_view name = trimmed(line.substr(0, equals)), value = trimmed(line.substr(equals + 1));
  for (const auto& [known, member] : kValues) {
    if (known != name) continue;
    const auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), tuning.*member);
    require(code == std::errc{} && end == value.data() + value.size(), where, ": ", name, " is \"", value,
            "\", not a whole number");
    return;
  }
  std::string names;
  for (const auto& [known, member] : kValues) names += (names.empty() ? "" : ", ") + std::string(known);
  throw InvalidArgument(str(where, ": unknown name \"", name, "\"; known are ", names));
}

/// "AMD EPYC 9654" to "amd-epyc-9654".
std::string slug(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)))
      result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    else if (!result.empty() && result.back() != '-')
      result += '-';
  }
  return result;
}

Tuning loaded;

}  // namespace

constinit Tuning tuning_in_use;

void load_tuning(Isa isa) {
  Tuning tuning;
  const std::string path = tuning_file_of(isa);
  if (std::ifstream file(path); file) {
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    tuning = parse_tuning(text, tuning, path + " (remove it; `qeff tune` writes another)");
  }
  if (const char* text = std::getenv("QEFF_TUNING")) tuning = parse_tuning(text, tuning, "QEFF_TUNING");
  loaded = tuning_in_use = tuning;
}

Tuning parse_tuning(std::string_view text, const Tuning& base, std::string_view where) {
  Tuning tuning = base;
  while (!text.empty()) {
    const auto end = std::min(text.find_first_of(",\n"), text.size());
    if (const auto line = trimmed(text.substr(0, end)); !line.empty()) set_value(tuning, line, where);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  require(tuning.part_work > 0 && tuning.activation_bytes > 0, where, ": part_work and activation_bytes must not be 0");
  return tuning;
}

std::string to_string(const Tuning& tuning) {
  std::string text;
  for (const auto& [name, member] : kValues) text += str(name, "=", tuning.*member, "\n");
  return text;
}

std::string tuning_file_of(Isa isa) {
  const std::string cpu = slug(cpu_model());
  return (cache_directory() / str("tuning-", cpu.empty() ? "cpu" : cpu, "-", name(isa), ".txt")).string();
}

std::string tuning_file() { return tuning_file_of(active().isa); }

void set_tuning(const std::optional<Tuning>& tuning) {
  (void)active();  // which would load over it later
  tuning_in_use = tuning.value_or(loaded);
}

}  // namespace qeff::kernels
