#include "qeff/nn/causal_lm.hpp"

#include <utility>

#include "nn/causal_lm_impl.hpp"
#include "qeff/kernels/matmul.hpp"

namespace qeff {

CausalLm::CausalLm(std::shared_ptr<const Artifact> artifact, std::size_t threads)
    : impl_(std::make_shared<Impl>(std::move(artifact), threads)) {}
CausalLm::CausalLm(CausalLm&&) noexcept = default;
CausalLm& CausalLm::operator=(CausalLm&&) noexcept = default;
CausalLm::~CausalLm() = default;

std::size_t CausalLm::vocab_size() const noexcept { return impl_->model.shape.vocab; }
std::size_t CausalLm::hidden_size() const noexcept { return impl_->model.shape.hidden; }
std::size_t CausalLm::layers() const noexcept { return impl_->model.shape.layers; }
std::size_t CausalLm::max_positions() const noexcept { return impl_->model.shape.positions; }
std::size_t CausalLm::threads() const noexcept { return impl_->executor.threads(); }
const Artifact& CausalLm::artifact() const noexcept { return *impl_->artifact; }

std::vector<LayerPlan> CausalLm::explain() const {
  std::vector<LayerPlan> plans;
  const auto add = [&](const nn::Linear& linear) {
    plans.push_back({linear.name, nn::scheme_name(linear.weights), qeff::explain(linear.weights),
                     weight_bytes(linear.weights), {}});
  };
  for (const auto& layer : impl_->model.layers)
    for (const nn::Linear* linear : {&layer.qkv, &layer.attn_out, &layer.up, &layer.down}) add(*linear);
  add(impl_->model.lm_head);
  return plans;
}

CausalLm load_causal_lm(const std::string& path, std::size_t threads) {
  return CausalLm(Artifact::open(path), threads);
}

}  // namespace qeff
