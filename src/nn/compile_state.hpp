/// @file
/// What the compile of a language model has finished, kept beside its output: one that was killed goes
/// on from there, to the same bytes.
///
///     OUT.partial/layer-<i>.qeff  packed linears and norms of a layer, named as in decoder_artifact.hpp;
///                                 in the metadata its reports
///     OUT.partial/stream.qeff     "0", "1", ...: f32, what calibration carries into layer `layer`
///     OUT.partial/plan.qeff       in the metadata what was chosen for the linears before the first layer
///
/// Every file appears whole or not at all, is checksummed, and carries the fingerprint of all that
/// decides the result. What is damaged or of another compile is never used.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "nn/decoder_model.hpp"
#include "qeff/io/artifact.hpp"
#include "qeff/io/checkpoint.hpp"
#include "qeff/nn/compile_encoder.hpp"

namespace qeff::nn {

/// Of the files and config.json of a checkpoint, the recipe, the calibration tokens, the version of qeff
/// and the kernels in use. Files count by name, size and time of the last change.
[[nodiscard]] std::string compile_fingerprint(const Checkpoint& checkpoint, const QuantizationConfig& config,
                                              const TokenBatch& calibration);

class CompileState {
 public:
  using Note = std::function<void(const std::string&)>;
  using Stream = std::vector<std::span<float>>;
  struct Layer {
    DecoderLayer weights;  ///< Borrowed from the mapped file.
    std::vector<LayerReport> reports;
  };

  /// @param note  Hears why a state is not used, and why one cannot be kept.
  CompileState(const std::string& out_path, std::string fingerprint, const DecoderShape& shape, Note note);

  /// Takes up what is there. @param calibrated  Whether layers need the stream of those before.
  /// @return the layers that are finished; layer() gives them.
  std::size_t open(bool calibrated);
  /// The finished layer, in the order of keep() and open().
  [[nodiscard]] const Layer& layer(std::size_t i) const { return layers_[i]; }
  /// Copies the stream that open() found. @return whether it has these sizes.
  [[nodiscard]] bool restore(const Stream& stream) const;
  /// What keep_plan() was given, or null.
  [[nodiscard]] nlohmann::ordered_json plan() const;

  /// Writes the next layer and reads it back: layer(i) needs no memory but the mapped file.
  /// @return false: it could not be written, the caller keeps its own.
  bool keep(const DecoderLayer& weights, std::span<const LayerReport> reports);
  /// The stream before the layer after the last one kept.
  void keep_stream(const Stream& stream);
  void keep_plan(const nlohmann::ordered_json& plan);
  /// Forgets the layers that open() found.
  void clear() noexcept { layers_.clear(); }
  /// Removes the files of any state; others in the directory stay.
  void remove() noexcept;

 private:
  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name + ".qeff"; }
  [[nodiscard]] std::string layer_path(std::size_t i) const;
  [[nodiscard]] std::shared_ptr<const Artifact> open_file(const std::string& path, nlohmann::ordered_json& metadata) const;
  [[nodiscard]] Layer read_layer(std::size_t i);
  std::size_t read_all(bool calibrated);
  bool write(const std::string& path, nlohmann::ordered_json metadata, const std::function<void(ArtifactWriter&)>& fill);

  std::string directory_, fingerprint_;
  const DecoderShape& shape_;
  Note note_;
  bool usable_ = true;  ///< Writing has not failed yet.
  std::vector<std::shared_ptr<const Artifact>> files_;
  std::vector<Layer> layers_;
  std::shared_ptr<const Artifact> stream_;
};

}  // namespace qeff::nn
