// Files of llama2.c, float32:
//
//   legacy     7 int32 | embedding | per kind, all layers: att_norm wq wk wv wo ffn_norm w1 w2 w3
//              | norm | cos and sin of seq_len x head/2 | classifier if vocab_size < 0
//   version 1  "ak42" reversed, int32 1, 7 int32, u8 shared classifier, padding to 256 bytes
//              | per kind: att_norm ffn_norm | norm | embedding | per kind: wq wk wv wo w1 w2 w3
//              | classifier unless shared
//
// The 7 int32 are dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len. Source:
// export.py and run.c of karpathy/llama2.c.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "io/byte_cursor.hpp"
#include "io/model_file.hpp"
#include "io/piece_file.hpp"
#include "qeff/core/checked_size.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

constexpr std::uint32_t kMagic = 0x616b3432;
constexpr std::size_t kVersion1Header = 256;
constexpr std::int32_t kMaxSize = 1 << 24;
constexpr double kNormEpsilon = 1e-5;  // constants of run.c, not in the file
constexpr double kRopeTheta = 10000.0;

struct Header {
  std::size_t dim, hidden, layers, heads, kv_heads, vocabulary, context;
  bool shared_classifier;

  [[nodiscard]] std::size_t head() const noexcept { return dim / heads; }
  [[nodiscard]] std::size_t kv_dim() const noexcept { return kv_heads * head(); }
};

std::size_t positive(std::int32_t value, const char* what, const std::string& file) {
  if (value < 1 || value > kMaxSize)
    throw FormatError(file, str("is neither a GGUF nor a llama2.c file (as the latter its ", what,
                                " would be ", value, ")"));
  return static_cast<std::size_t>(value);
}

Header read_header(ByteCursor& cursor, bool legacy) {
  const std::string& file = cursor.file();
  const auto next = [&](const char* what) {
    return positive(cursor.number<std::int32_t>(what), what, file);
  };
  Header header{};
  header.dim = next("dim");
  header.hidden = next("hidden_dim");
  header.layers = next("n_layers");
  header.heads = next("n_heads");
  header.kv_heads = next("n_kv_heads");
  const auto vocabulary = cursor.number<std::int32_t>("vocab_size");
  header.shared_classifier = vocabulary > 0;
  header.vocabulary =
      positive(legacy && vocabulary < 0 && vocabulary >= -kMaxSize ? -vocabulary : vocabulary,
               "vocab_size", file);
  header.context = next("seq_len");
  if (header.dim % header.heads != 0 || header.head() % 2 != 0 ||
      header.heads % header.kv_heads != 0)
    throw FormatError(file, str("is neither a GGUF nor a llama2.c file (as the latter ",
                                header.heads, " heads and ", header.kv_heads,
                                " key-value heads would share ", header.dim, " values)"));
  return header;
}

/// Takes tensors off the file in its order.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& file, ModelParts& parts)
      : cursor_(bytes, file),
        parts_(parts),
        legacy_(bytes.size() < sizeof kMagic ||
                load_little_endian<std::uint32_t>(bytes, 0) != kMagic) {}

  void read() {
    if (legacy_) {
      header_ = read_header(cursor_, true);
      check_size(2);
      read_legacy();
    } else {
      read_version1_header();
      check_size(0);
      read_version1();
    }
    parts_.config = config();
  }

  [[nodiscard]] std::size_t vocabulary() const noexcept { return header_.vocabulary; }

 private:
  void read_version1_header() {
    (void)cursor_.number<std::uint32_t>("the magic");
    const auto version = cursor_.number<std::int32_t>("the version");
    if (version == 2)
      throw Unsupported(cursor_.file() +
                        ": is a quantized llama2.c file (version 2); export it as version 1");
    if (version != 1)
      throw FormatError(cursor_.file(), str("llama2.c version ", version, " is unknown"), 4);
    header_ = read_header(cursor_, false);
    const std::size_t at = cursor_.offset();
    const auto shared = cursor_.number<std::uint8_t>("the shared classifier");
    if (shared > 1)
      throw FormatError(cursor_.file(), "the flag of a shared classifier is not 0 or 1", at);
    header_.shared_classifier = shared == 1;
    (void)cursor_.bytes(kVersion1Header - cursor_.offset(), "the header");
  }

  /// @param tables  Tables of seq_len x head/2 in the file.
  void check_size(std::size_t tables) {
    const Header& h = header_;
    const CheckedSize layer = CheckedSize(2) * h.dim + CheckedSize(2) * h.dim * h.dim +
                              CheckedSize(2) * h.kv_dim() * h.dim +
                              CheckedSize(3) * h.hidden * h.dim;
    const CheckedSize floats = layer * h.layers + h.dim +
                               CheckedSize(h.shared_classifier ? 1 : 2) * h.vocabulary * h.dim +
                               CheckedSize(tables) * h.context * (h.head() / 2);
    const CheckedSize bytes = floats * sizeof(float);
    if (!bytes.valid() || bytes.value() != cursor_.remaining())
      throw FormatError(cursor_.file(),
                        str("is neither a GGUF nor a llama2.c file (as the latter it would have ",
                            bytes.valid() ? str(bytes.value()) : "too many",
                            " bytes after its header, not ", cursor_.remaining(), "; truncated?)"),
                        cursor_.offset());
  }

  void add(std::string name, std::vector<std::size_t> shape, std::size_t heads = 0) {
    std::size_t bytes = sizeof(float);
    for (const std::size_t size : shape) bytes *= size;
    parts_.tensors.emplace(
        name, ModelTensor{GgmlType::f32, std::move(shape), cursor_.bytes(bytes, name), heads});
  }
  void add_layers(const std::string& name, const std::vector<std::size_t>& shape,
                  std::size_t heads = 0) {
    for (std::size_t i = 0; i < header_.layers; ++i)
      add(str("model.layers.", i, ".", name, ".weight"), shape, heads);
  }
  void add_attention() {
    const Header& h = header_;
    add_layers("self_attn.q_proj", {h.dim, h.dim}, h.heads);
    add_layers("self_attn.k_proj", {h.kv_dim(), h.dim}, h.kv_heads);
    add_layers("self_attn.v_proj", {h.kv_dim(), h.dim});
    add_layers("self_attn.o_proj", {h.dim, h.dim});
  }
  void add_mlp() {
    add_layers("mlp.gate_proj", {header_.hidden, header_.dim});
    add_layers("mlp.down_proj", {header_.dim, header_.hidden});
    add_layers("mlp.up_proj", {header_.hidden, header_.dim});
  }
  void add_classifier() {
    if (!header_.shared_classifier) add("lm_head.weight", {header_.vocabulary, header_.dim});
  }

  void read_legacy() {
    const Header& h = header_;
    add("model.embed_tokens.weight", {h.vocabulary, h.dim});
    add_layers("input_layernorm", {h.dim});
    add_attention();
    add_layers("post_attention_layernorm", {h.dim});
    add_mlp();
    add("model.norm.weight", {h.dim});
    (void)cursor_.bytes(2 * h.context * (h.head() / 2) * sizeof(float), "the rotary tables");
    add_classifier();
  }

  void read_version1() {
    const Header& h = header_;
    add_layers("input_layernorm", {h.dim});
    add_layers("post_attention_layernorm", {h.dim});
    add("model.norm.weight", {h.dim});
    add("model.embed_tokens.weight", {h.vocabulary, h.dim});
    add_attention();
    add_mlp();
    add_classifier();
  }

  [[nodiscard]] std::string config() const {
    const nlohmann::ordered_json json{
        {"architectures", nlohmann::ordered_json::array({"LlamaForCausalLM"})},
        {"model_type", "llama"},
        {"hidden_size", header_.dim},
        {"intermediate_size", header_.hidden},
        {"num_hidden_layers", header_.layers},
        {"num_attention_heads", header_.heads},
        {"num_key_value_heads", header_.kv_heads},
        {"head_dim", header_.head()},
        {"hidden_act", "silu"},
        {"rms_norm_eps", kNormEpsilon},
        {"rope_theta", kRopeTheta},
        {"max_position_embeddings", header_.context},
        {"vocab_size", header_.vocabulary},
        {"tie_word_embeddings", header_.shared_classifier},
        {"bos_token_id", 1},
        {"eos_token_id", 2},
        {"torch_dtype", "float32"}};
    return json.dump(2) + "\n";
  }

  ByteCursor cursor_;
  ModelParts& parts_;
  bool legacy_;
  Header header_{};
};

}  // namespace

std::unique_ptr<const CheckpointSource> open_llama2c_model(MappedFile file) {
  const auto mapped = std::make_shared<const MappedFile>(std::move(file));
  if (mapped->bytes().empty()) throw FormatError(mapped->path(), "is an empty file");
  ModelParts parts;
  Reader reader(mapped->bytes(), mapped->path(), parts);
  reader.read();
  const auto pieces = [path = mapped->path(), count = reader.vocabulary()] {
    return PieceFile::beside(path, count);
  };
  for (const auto& [name, write] : {std::pair("tokenizer.json", &PieceFile::tokenizer),
                                    std::pair("tokenizer_config.json", &PieceFile::config),
                                    std::pair("generation_config.json", &PieceFile::generation)})
    parts.texts[name] = [pieces, write = write] {
      const auto found = pieces();
      return found ? ((*found).*write)() : std::string();
    };
  return make_model_file(mapped->path(), std::move(parts), mapped);
}

}  // namespace qeff
