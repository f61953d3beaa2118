#include "qeff/io/checkpoint.hpp"

#include <filesystem>
#include <system_error>
#include <utility>

#include "io/checkpoint_source.hpp"
#include "io/close_names.hpp"
#include "io/errno_text.hpp"
#include "io/relative_path.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/gguf.hpp"

namespace qeff {
namespace {

std::unique_ptr<const CheckpointSource> open_source(const std::string& path) {
  std::error_code code;
  const auto status = std::filesystem::status(path, code);
  if (!std::filesystem::exists(status)) throw_io_error(path, "cannot be opened", ENOENT);
  if (std::filesystem::is_directory(status)) return open_directory(path);
  MappedFile file = MappedFile::open(path);
  return is_gguf(file.bytes()) ? open_gguf_model(std::move(file))
                               : open_llama2c_model(std::move(file));
}

}  // namespace

Checkpoint::Checkpoint(std::string path, std::unique_ptr<const CheckpointSource> source)
    : path_(std::move(path)), source_(std::move(source)) {}
Checkpoint::~Checkpoint() = default;

std::shared_ptr<const Checkpoint> Checkpoint::open(const std::string& path) {
  return std::shared_ptr<const Checkpoint>(new Checkpoint(path, open_source(path)));
}

const std::string& Checkpoint::config() const noexcept { return source_->config(); }

std::vector<std::string> Checkpoint::names() const {
  const auto names = source_->names();
  return {names.begin(), names.end()};
}

bool Checkpoint::contains(std::string_view name) const noexcept { return source_->contains(name); }

void Checkpoint::require_tensor(std::string_view name) const {
  if (!contains(name))
    throw FormatError(path_,
                      str("has no tensor '", name, "'", close_names(name, source_->names())));
}

const TensorView& Checkpoint::tensor(std::string_view name) const {
  require_tensor(name);
  return source_->tensor(name);
}

std::vector<float> Checkpoint::floats(std::string_view name) const {
  require_tensor(name);
  return source_->floats(name);
}

std::vector<std::size_t> Checkpoint::shape(std::string_view name) const {
  require_tensor(name);
  return source_->shape(name);
}

StoredTensor Checkpoint::stored(std::string_view name) const {
  require_tensor(name);
  return source_->stored(name);
}

std::vector<std::string> Checkpoint::files() const { return source_->files(); }

std::string Checkpoint::read_text(const std::string& relative_path) const {
  if (!stays_inside(relative_path))
    throw FormatError(path_, "'" + relative_path + "' is not a relative path inside the directory");
  return source_->read_text(relative_path);
}

}  // namespace qeff
