#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <system_error>

#include "io/checkpoint_source.hpp"
#include "io/errno_text.hpp"
#include "io/json.hpp"
#include "io/relative_path.hpp"
#include "qeff/core/error.hpp"
#include "qeff/io/checkpoint.hpp"
#include "qeff/io/mapped_file.hpp"
#include "qeff/io/safetensors.hpp"

namespace qeff {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxTextBytes = std::size_t{64} << 20;

std::string join(const std::string& directory, std::string_view name) {
  std::string path = directory;
  if (!path.empty() && path.back() != '/') path += '/';
  return path.append(name);
}

bool exists(const std::string& path) {
  std::error_code code;
  return std::filesystem::exists(path, code);
}

std::string read_config(const std::string& directory) {
  const std::string path = join(directory, "config.json");
  if (!exists(path))
    throw_io_error(path, "config.json is missing, this is not a Hugging Face model directory",
                   ENOENT);
  std::string text = read_text_file(path, kMaxTextBytes);
  if (!parse_json(text, path).is_object()) throw FormatError(path, "is not a JSON object");
  return text;
}

/// A file only pickle can read, or empty.
std::string pickle_file(const std::string& directory) {
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator(directory, code)) {
    const std::string name = entry.path().filename().string();
    const std::string extension = entry.path().extension().string();
    const bool weights = name.starts_with("pytorch_model") || name.starts_with("consolidated");
    if ((weights && extension == ".bin") || extension == ".pt" || extension == ".pth" ||
        extension == ".ckpt")
      return name;
  }
  return {};
}

[[noreturn]] void throw_no_weights(const std::string& directory) {
  const std::string pickle = pickle_file(directory);
  if (pickle.empty())
    throw_io_error(directory, "has neither model.safetensors nor model.safetensors.index.json",
                   ENOENT);
  throw Unsupported(directory + ": the weights are only there as a pickle (" + pickle +
                    "), which can run code when it is read. Convert a directory that you trust "
                    "once: python -c \"from "
                    "transformers import AutoModel; AutoModel.from_pretrained('" +
                    directory +
                    "', weights_only=True)"
                    ".save_pretrained('" +
                    directory + "', safe_serialization=True)\"");
}

class DirectorySource final : public CheckpointSource {
 public:
  explicit DirectorySource(const std::string& directory)
      : directory_(directory), config_(read_config(directory)) {
    const std::string single = join(directory, "model.safetensors");
    const std::string index = join(directory, "model.safetensors.index.json");
    if (exists(single))
      add_single(single);
    else if (exists(index))
      add_shards(directory, index);
    else
      throw_no_weights(directory);
  }

  const std::string& config() const noexcept override { return config_; }
  std::vector<std::string_view> names() const override {
    std::vector<std::string_view> names;
    for (const auto& [name, unused] : tensors_) names.push_back(name);
    return names;
  }
  bool contains(std::string_view name) const noexcept override {
    return tensors_.find(name) != tensors_.end();
  }
  const TensorView& tensor(std::string_view name) const override {
    return tensors_.find(name)->second;
  }
  std::vector<float> floats(std::string_view name) const override {
    const TensorView& view = tensor(name);
    std::vector<float> values = to_float(view, name, directory_);
    drop_pages({view.data, view.nbytes});
    return values;
  }
  std::vector<std::size_t> shape(std::string_view name) const override {
    return tensor(name).shape;
  }
  StoredTensor stored(std::string_view name) const override {
    const TensorView& view = tensor(name);
    return {info(view.dtype).name, view.shape, view.nbytes};
  }
  std::vector<std::string> files() const override {
    std::vector<std::string> paths;
    for (const auto& file : open_) paths.push_back(file->path());
    return paths;
  }
  std::string read_text(const std::string& relative_path) const override {
    const std::string path = join(directory_, relative_path);
    return exists(path) ? read_text_file(path, kMaxTextBytes) : std::string();
  }

 private:
  void add_single(const std::string& path) {
    const auto& file = open_.emplace_back(SafetensorsFile::open(path));
    for (const NamedTensor& named : file->tensors()) tensors_.emplace(named.name, named.tensor);
  }

  void add_shards(const std::string& directory, const std::string& index_path) {
    const Json index = parse_json(read_text_file(index_path, kMaxTextBytes), index_path);
    const Json& weight_map = json_member(index, "weight_map", index_path, "the index");
    if (!weight_map.is_object())
      throw FormatError(index_path, "\"weight_map\" is not a JSON object");
    std::map<std::string, std::map<std::string_view, TensorView>> shards;
    for (const auto& [name, value] : weight_map.items()) {
      const std::string& shard =
          json_string(value, index_path, "the shard of tensor '" + name + "'");
      if (!stays_inside(shard))
        throw FormatError(index_path, "the shard of tensor '" + name +
                                          "' is not a relative path inside the directory: '" +
                                          shard + "'");
      auto [position, fresh] = shards.try_emplace(shard);
      if (fresh) open_shard(join(directory, shard), position->second);
      const auto found = position->second.find(name);
      if (found == position->second.end())
        throw FormatError(index_path, "tensor '" + name + "' is not in its shard '" + shard + "'");
      tensors_.emplace(name, found->second);
    }
  }

  void open_shard(const std::string& path, std::map<std::string_view, TensorView>& table) {
    const auto& file = open_.emplace_back(SafetensorsFile::open(path));
    for (const NamedTensor& named : file->tensors()) table.emplace(named.name, named.tensor);
  }
  std::string directory_, config_;
  std::vector<std::shared_ptr<const SafetensorsFile>> open_;
  std::map<std::string, TensorView, std::less<>> tensors_;
};

}  // namespace

std::unique_ptr<const CheckpointSource> open_directory(const std::string& directory) {
  return std::make_unique<DirectorySource>(directory);
}

}  // namespace qeff
