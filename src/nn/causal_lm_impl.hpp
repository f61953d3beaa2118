/// @file
/// What CausalLm holds and CausalSession runs.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "nn/decoder_artifact.hpp"
#include "nn/decoder_forward.hpp"
#include "qeff/core/executor.hpp"
#include "qeff/nn/causal_lm.hpp"

namespace qeff {

struct CausalLm::Impl {
  Impl(std::shared_ptr<const Artifact> file, std::size_t threads)
      : artifact(std::move(file)),
        metadata(nn::read_decoder_metadata(*artifact)),
        model(nn::read_decoder(*artifact, metadata)),
        executor(threads) {}

  std::shared_ptr<const Artifact> artifact;
  nn::DecoderMetadata metadata;
  nn::DecoderModel model;
  Executor executor;
  std::mutex running;  // one session at a time
};

}  // namespace qeff
