#include <Eigen/Core>
#include <algorithm>
#include <limits>

#include "nn/gradients.hpp"

namespace qeff::nn {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Rows = Eigen::Map<Matrix, 0, Eigen::OuterStride<>>;
using ConstRows = Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>;
using Eigen::Index;

constexpr std::size_t kQueries = 64;  // that share a block of scores

Index index(std::size_t i) { return static_cast<Index>(i); }

/// The queries [first, last) of a sequence against the keys [begin, last) they may see.
struct Block {
  Index first, last, begin;
};

Block block_at(std::size_t first, std::size_t tokens, std::size_t window) {
  const std::size_t begin = window == 0 || first < window ? 0 : first + 1 - window;
  return {index(first), index(std::min(tokens, first + kQueries)), index(begin)};
}

/// Row by row, with zeros for the keys a query does not see.
void masked_softmax(const Block& b, std::size_t window, Matrix& scores) {
  for (Index r = 0; r < scores.rows(); ++r) {
    const Index seen = b.first + r + 1 - b.begin;
    const Index hidden = window == 0 ? 0 : std::max<Index>(0, seen - index(window));
    auto row = scores.row(r).segment(hidden, seen - hidden).array();
    row = (row - row.maxCoeff()).exp();
    row /= row.sum();
    scores.row(r).head(hidden).setZero();
    scores.row(r).tail(scores.cols() - seen).setZero();
  }
}

/// One head of queries; dk and dv are added to.
void head_gradient(const DecoderShape& s, std::size_t window, const ConstRows& q, const ConstRows& k,
                   const ConstRows& v, const ConstRows& d_out, Rows& dq, Rows& dk, Rows& dv) {
  const auto tokens = static_cast<std::size_t>(q.rows());
  Matrix p, d, slope;
  for (std::size_t first = 0; first < tokens; first += kQueries) {
    const Block b = block_at(first, tokens, window);
    const Index queries = b.last - b.first, keys = b.last - b.begin;
    const auto qb = q.middleRows(b.first, queries), out = d_out.middleRows(b.first, queries);
    const auto kb = k.middleRows(b.begin, keys), vb = v.middleRows(b.begin, keys);
    p.noalias() = s.attention_scale * qb * kb.transpose();
    if (s.attention_softcap != 0) {
      slope = (p.array() / s.attention_softcap).tanh();
      p = s.attention_softcap * slope;
      slope = 1.0f - slope.array().square();
    }
    masked_softmax(b, window, p);
    d.noalias() = out * vb.transpose();
    dv.middleRows(b.begin, keys).noalias() += p.transpose() * out;
    for (Index r = 0; r < queries; ++r) {
      const float mean = p.row(r).dot(d.row(r));
      d.row(r) = p.row(r).array() * (d.row(r).array() - mean) * s.attention_scale;
    }
    if (s.attention_softcap != 0) d = d.cwiseProduct(slope);
    dq.middleRows(b.first, queries).noalias() = d * kb;
    dk.middleRows(b.begin, keys).noalias() += d.transpose() * qb;
  }
}

}  // namespace

void attention_gradient(const DecoderShape& s, const DecoderLayerShape& how, std::span<const TokenRun> runs,
                        const float* qkv, const float* d_context, float* d_qkv, Team team) {
  const std::size_t group = s.heads / s.kv_heads;
  team.executor->run(runs.size() * s.kv_heads, [&](std::size_t task) {
    const TokenRun& run = runs[task / s.kv_heads];
    const std::size_t head = task % s.kv_heads;
    const Index tokens = index(run.count), dim = index(s.head_dim);
    const Eigen::OuterStride<> stride(index(s.qkv_size())), out_stride(index(s.q_size()));
    const auto in = [&](std::size_t column) {
      return ConstRows(qkv + run.row * s.qkv_size() + column, tokens, dim, stride);
    };
    const auto out = [&](std::size_t column) {
      return Rows(d_qkv + run.row * s.qkv_size() + column, tokens, dim, stride);
    };
    const std::size_t key = s.q_size() + head * s.head_dim, value = key + s.kv_size();
    const ConstRows k = in(key), v = in(value);
    Rows dk = out(key), dv = out(value);
    dk.setZero();
    dv.setZero();
    for (std::size_t h = head * group; h < (head + 1) * group; ++h) {
      const ConstRows q = in(h * s.head_dim);
      const ConstRows d_out(d_context + run.row * s.q_size() + h * s.head_dim, tokens, dim, out_stride);
      Rows dq = out(h * s.head_dim);
      head_gradient(s, how.window, q, k, v, d_out, dq, dk, dv);
    }
  });
}

}  // namespace qeff::nn
