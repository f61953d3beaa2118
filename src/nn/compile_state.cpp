#include "nn/compile_state.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <utility>

#include "nn/decoder_artifact.hpp"
#include "nn/metadata_reader.hpp"
#include "qeff/core/error.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/table.hpp"
#include "qeff/version.hpp"

namespace qeff::nn {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kPartialKind = "partial_causal_lm";

/// A valid state of another compile.
struct OtherCompile {};

Json to_json(const LayerReport& r) {
  return {{"name", r.name},       {"scheme", r.scheme},   {"note", r.note},           {"rows", r.rows},
          {"cols", r.cols},       {"bytes", r.bytes},     {"bits", r.bits},           {"mse", r.mse},
          {"sqnr_db", r.sqnr_db}, {"cosine", r.cosine},   {"max_error", r.max_error}, {"hessian_loss", r.hessian_loss},
          {"seconds", r.seconds}, {"sensitivity", r.sensitivity}};
}

/// JSON has no infinity: it is written as null.
double number(const Json& value) { return value.is_null() ? std::numeric_limits<double>::infinity() : value.get<double>(); }

LayerReport report_of(const Json& j) {
  LayerReport r;
  r.name = j.at("name"), r.scheme = j.at("scheme"), r.note = j.at("note");
  r.rows = j.at("rows"), r.cols = j.at("cols"), r.bytes = j.at("bytes");
  r.bits = number(j.at("bits")), r.mse = number(j.at("mse")), r.sqnr_db = number(j.at("sqnr_db"));
  r.cosine = number(j.at("cosine")), r.max_error = number(j.at("max_error"));
  r.hessian_loss = number(j.at("hessian_loss")), r.seconds = number(j.at("seconds"));
  r.sensitivity = number(j.at("sensitivity"));
  return r;
}

/// Whether a file of this name is one that a state, whole or half written, leaves.
bool is_ours(const std::string& name) {
  const std::string bare = name.starts_with(".") ? name.substr(1) : name;
  return bare.starts_with("layer-") || bare.starts_with("stream.qeff") || bare.starts_with("plan.qeff");
}

}  // namespace

std::string compile_fingerprint(const Checkpoint& checkpoint, const QuantizationConfig& config,
                                const TokenBatch& calibration) {
  Json files = Json::array();
  std::error_code none;
  for (const std::string& file : checkpoint.files())
    files.push_back({fs::path(file).filename().string(), fs::file_size(file, none),
                     fs::last_write_time(file, none).time_since_epoch().count()});
  const Json all{files,
                 checkpoint.config(),
                 qeff::to_json(config),
                 fmt::format("{:016x}", XXH3_64bits(calibration.ids.data(), calibration.ids.size() * sizeof(std::int32_t))),
                 calibration.offsets,
                 version,
                 kArtifactVersion,
                 kernels::name(kernels::active().isa)};
  const std::string text = all.dump(-1, ' ', false, Json::error_handler_t::replace);
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

CompileState::CompileState(const std::string& out_path, std::string fingerprint, const DecoderShape& shape, Note note)
    : directory_(out_path + ".partial"), fingerprint_(std::move(fingerprint)), shape_(shape), note_(std::move(note)) {}

std::string CompileState::layer_path(std::size_t i) const { return path(fmt::format("layer-{}", i)); }

std::shared_ptr<const Artifact> CompileState::open_file(const std::string& path, Json& metadata) const {
  auto artifact = Artifact::open(path);
  metadata = Json::parse(artifact->metadata());
  const MetadataReader reader(path, metadata, "the top level");
  if (reader.text("kind") != kPartialKind) reader.fail("is of another kind");
  if (reader.text("fingerprint") != fingerprint_) throw OtherCompile{};
  return artifact;
}

CompileState::Layer CompileState::read_layer(std::size_t i) {
  Json metadata;
  const std::string path = layer_path(i);
  auto artifact = open_file(path, metadata);
  const MetadataReader reader(path, metadata, "the top level");
  const auto infos = read_linear_infos(reader);
  const Entries entries(*artifact);
  Layer layer;
  for (const auto& [name, n, k, member] : layer_linears(shape_))
    layer.weights.*member = find_linear(entries, infos, layer_entry(i, name), n, k, Bias::optional);
  for (const auto& [name, tensor, n, member] : layer_norms(shape_)) {
    const std::string entry = layer_entry(i, name);
    if (entries.contains(entry + ".weight")) (layer.weights.*member).gamma = entries.floats(entry + ".weight", n);
    if (entries.contains(entry + ".bias")) (layer.weights.*member).beta = entries.floats(entry + ".bias", n);
  }
  try {
    for (const Json& row : reader.at("reports")) layer.reports.push_back(report_of(row));
  } catch (const nlohmann::json::exception& error) {
    reader.fail(fmt::format("\"reports\": {}", error.what()));
  }
  files_.push_back(std::move(artifact));
  return layer;
}

std::size_t CompileState::read_all(bool calibrated) {
  try {
    while (layers_.size() < shape_.layers && fs::exists(layer_path(layers_.size())))
      layers_.push_back(read_layer(layers_.size()));
  } catch (const Error& error) {
    note_(fmt::format("{}: not used: {}", directory_, error.what()));
  }
  if (!calibrated || layers_.size() == shape_.layers) return layers_.size();
  if (!fs::exists(path("stream"))) return 0;
  Json metadata;
  stream_ = open_file(path("stream"), metadata);
  const std::size_t next = MetadataReader(path("stream"), metadata, "the top level").size("layer");
  if (next > layers_.size())
    throw FormatError(path("stream"), fmt::format("goes on from layer {}; there are {}", next, layers_.size()));
  return next;
}

std::size_t CompileState::open(bool calibrated) {
  std::error_code none;
  if (!fs::is_directory(directory_, none)) return 0;
  std::size_t done = 0;
  try {
    done = read_all(calibrated);
  } catch (const OtherCompile&) {
    layers_.clear();
    note_(fmt::format("{}: is of another compile (model, recipe, calibration, version or CPU): removed, starts over",
                      directory_));
    remove();
  } catch (const Error& error) {
    note_(fmt::format("{}: not used: {}", directory_, error.what()));
  } catch (const fs::filesystem_error& error) {
    note_(fmt::format("{}: not used: {}", directory_, error.what()));
  }
  layers_.resize(done);
  return done;
}

bool CompileState::restore(const Stream& stream) const {
  if (!stream_ || stream_->entries().size() != stream.size()) return false;
  for (std::size_t i = 0; i < stream.size(); ++i)
    if (!stream_->contains(std::to_string(i)) || stream_->tensor(std::to_string(i)).nbytes != stream[i].size_bytes())
      return false;
  for (std::size_t i = 0; i < stream.size(); ++i)
    std::memcpy(stream[i].data(), stream_->tensor(std::to_string(i)).data, stream[i].size_bytes());
  return true;
}

Json CompileState::plan() const {
  Json metadata;
  try {
    if (fs::exists(path("plan"))) return open_file(path("plan"), metadata) ? metadata.value("plan", Json()) : Json();
  } catch (const Error& error) {
    note_(fmt::format("{}: not used: {}", directory_, error.what()));
  } catch (const OtherCompile&) {
    note_(fmt::format("{}: is of another compile: not used", path("plan")));
  }
  return {};
}

bool CompileState::write(const std::string& path, Json metadata, const std::function<void(ArtifactWriter&)>& fill) {
  if (!usable_) return false;
  try {
    fs::create_directory(directory_);
    metadata["kind"] = kPartialKind;
    metadata["fingerprint"] = fingerprint_;
    ArtifactWriter writer(metadata.dump());
    fill(writer);
    writer.write(path, {}, Durability::process);
    return true;
  } catch (const Error& error) {
    note_(fmt::format("what is finished cannot be kept: {}", error.what()));
  } catch (const fs::filesystem_error& error) {
    note_(fmt::format("what is finished cannot be kept: {}", error.what()));
  }
  usable_ = false;
  return false;
}

bool CompileState::keep(const DecoderLayer& weights, std::span<const LayerReport> reports) {
  const std::size_t i = layers_.size();
  Json metadata{{"linears", Json::array()}, {"reports", Json::array()}};
  for (const auto& [name, n, k, member] : layer_linears(shape_)) {
    const auto& view = (weights.*member).weights;
    metadata["linears"].push_back(nn::to_json(LinearInfo{layer_entry(i, name), scheme_name(view), view}));
  }
  for (const LayerReport& row : reports) metadata["reports"].push_back(to_json(row));
  const bool written = write(layer_path(i), metadata, [&](ArtifactWriter& writer) {
    add_layer_linears(writer, shape_, i, weights);
    add_layer_norms(writer, shape_, i, weights);
  });
  if (!written) return false;
  try {
    layers_.push_back(read_layer(i));
    return true;
  } catch (const Error& error) {  // taken away in the meantime
    note_(fmt::format("what is finished cannot be kept: {}", error.what()));
  } catch (const OtherCompile&) {
    note_(fmt::format("{}: another compile writes there too: what is finished is not kept", directory_));
  }
  usable_ = false;
  return false;
}

void CompileState::keep_stream(const Stream& stream) {
  (void)write(path("stream"), {{"layer", layers_.size()}}, [&](ArtifactWriter& writer) {
    for (std::size_t i = 0; i < stream.size(); ++i)
      add_floats(writer, std::to_string(i), stream[i].data(), {stream[i].size()});
  });
}

void CompileState::keep_plan(const Json& plan) {
  (void)write(path("plan"), {{"plan", plan}}, [](ArtifactWriter&) {});
}

void CompileState::remove() noexcept {
  std::error_code none;
  std::vector<fs::path> ours;
  for (fs::directory_iterator it(directory_, none), end; !none && it != end; it.increment(none))
    if (is_ours(it->path().filename().string())) ours.push_back(it->path());
  for (const fs::path& path : ours) fs::remove(path, none);
  fs::remove(directory_, none);
}

}  // namespace qeff::nn
