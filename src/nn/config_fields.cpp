#include "nn/config_fields.hpp"

#include <fmt/format.h>

#include "qeff/core/error.hpp"

namespace qeff::nn {

Json parse_config(const std::string& text) { return Json::parse(text, nullptr, false); }

std::optional<Activation> activation_from_name(std::string_view name) {
  if (name == "gelu" || name == "gelu_python") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_fast" || name == "gelu_accurate" ||
      name == "gelu_pytorch_tanh" || name == "gelu_python_tanh")
    return Activation::gelu_tanh;
  if (name == "relu") return Activation::relu;
  if (name == "silu" || name == "swish") return Activation::silu;
  return std::nullopt;
}

std::size_t size_field(const Json& config, std::string_view key, const std::string& file) {
  const auto it = config.find(key);
  if (it == config.end()) throw FormatError(file, fmt::format("field \"{}\" is missing", key));
  if (!it->is_number_integer() || it->get<double>() < 1 || it->get<double>() > 0x7fffffff)
    throw FormatError(file,
                      fmt::format("field \"{}\" is {}, not a positive integer", key, it->dump()));
  return it->get<std::size_t>();
}

}  // namespace qeff::nn
