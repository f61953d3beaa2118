#include "qeff/nn/token_batch.hpp"

#include "qeff/core/error.hpp"
#include "qeff/nn/architecture.hpp"

namespace qeff {
namespace {

void require_within(const std::vector<std::int32_t>& values, std::size_t limit, const char* what,
                    const char* table, const TokenBatch& batch) {
  std::size_t sequence = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    while (i >= batch.offsets[sequence + 1]) ++sequence;
    require(values[i] >= 0 && static_cast<std::size_t>(values[i]) < limit, what, " ", values[i],
            " at token ", i - batch.offsets[sequence], " of sequence ", sequence,
            " is outside the ", table, " of ", limit);
  }
}

}  // namespace

void validate(const TokenBatch& batch, const EncoderShape& shape) {
  const auto& offsets = batch.offsets;
  require(offsets.size() >= 2, "the batch has no sequence");
  require(offsets.front() == 0, "offsets start at ", offsets.front(), ", not 0");
  require(offsets.back() == batch.ids.size(), "offsets end at ", offsets.back(), " but there are ",
          batch.ids.size(), " ids");
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    require(offsets[s + 1] >= offsets[s], "offset ", s + 1, " is ", offsets[s + 1], ", below ",
            offsets[s]);
    const std::size_t tokens = offsets[s + 1] - offsets[s];
    require(tokens > 0, "sequence ", s, " is empty");
    require(tokens <= shape.max_positions(), "sequence ", s, " has ", tokens,
            " tokens; the model has positions for ", shape.max_positions());
  }
  require_within(batch.ids, shape.vocab, "id", "vocabulary", batch);
  if (batch.type_ids.empty()) return;
  require(batch.type_ids.size() == batch.ids.size(), "there are ", batch.type_ids.size(),
          " type ids for ", batch.ids.size(), " ids");
  const std::size_t types =
      shape.types == 0 ? 1 : shape.types;  // without a table only zeros make sense
  require_within(batch.type_ids, types, "type id", "token types", batch);
}

}  // namespace qeff
