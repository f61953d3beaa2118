/// @file
/// Python face of causal language models: model, session, generation, compiler. Checks of arrays,
/// no arithmetic.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compiling.hpp"
#include "executors.hpp"
#include "names.hpp"
#include "qeff/core/error.hpp"
#include "qeff/nn/causal_lm.hpp"
#include "qeff/nn/compile_causal_lm.hpp"
#include "qeff/nn/generate.hpp"
#include "qeff/nn/perplexity.hpp"

namespace qeff::python {

void bind_causal(py::module_& m);

namespace {

using Floats = py::array_t<float>;

constexpr std::array<std::string_view, 4> kv_names = {"f32", "bf16", "int8", "int4"};

/// A session with what Python needs beside it. A second thread gets an error, not a wait.
class Session {
 public:
  Session(const CausalLm& model, const CausalSessionOptions& options)
      : session_(model, options), model_(sequence_model(session_)), generator_(*model_) {}

  /// The session for one call; given back when this goes.
  class Use {
   public:
    explicit Use(Session& session) : session_(session) {
      require(!session.busy_.exchange(true), "the session is in use by another call");
    }
    ~Use() { session_.busy_ = false; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    CausalSession* operator->() const { return &session_.session_; }
    SequenceModel& model() const { return *session_.model_; }
    Generator& generator() const { return session_.generator_; }

   private:
    Session& session_;
  };

  const CausalSession& facts() const { return session_; }

 private:
  CausalSession session_;
  std::unique_ptr<SequenceModel> model_;
  Generator generator_;
  std::atomic<bool> busy_ = false;
};

using PythonChunk = std::tuple<std::size_t, Ids, bool>;

Floats run(Session& self, const std::vector<PythonChunk>& python_chunks) {
  const Session::Use use(self);
  std::vector<CausalChunk> chunks;
  std::size_t rows = 0;
  for (const auto& [sequence, ids, all] : python_chunks) {
    require(ids.ndim() == 1, "ids must have 1 dimension, not ", ids.ndim());
    const auto count = static_cast<std::size_t>(ids.size());
    chunks.push_back({sequence, {ids.data(), count}, all});
    rows += all ? count : 1;
  }
  const std::size_t vocab = use->model().vocab_size();
  Floats logits({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(vocab)});
  const std::span<float> out(logits.mutable_data(), rows * vocab);
  const py::gil_scoped_release no_gil;
  use->run(chunks, out);
  return logits;
}

template <class T>
T option(const py::dict& options, const char* name, T otherwise) {
  return options.contains(name) ? options[name].cast<T>() : otherwise;
}

GenerationOptions options_of(const py::dict& from) {
  GenerationOptions o;
  SamplingOptions& s = o.sampling;
  o.max_new_tokens = option(from, "max_new_tokens", o.max_new_tokens);
  o.eos_ids = option(from, "eos_ids", o.eos_ids);
  o.seeds = option(from, "seeds", o.seeds);
  o.num_return_sequences = option(from, "num_return_sequences", o.num_return_sequences);
  o.prefill_chunk = option(from, "prefill_chunk", o.prefill_chunk);
  o.prompt_lookup_num_tokens = option(from, "prompt_lookup_num_tokens", o.prompt_lookup_num_tokens);
  o.prompt_lookup_ngram = option(from, "prompt_lookup_ngram", o.prompt_lookup_ngram);
  o.num_assistant_tokens = option(from, "num_assistant_tokens", o.num_assistant_tokens);
  o.logprobs = option(from, "logprobs", o.logprobs);
  o.top_logprobs = option(from, "top_logprobs", o.top_logprobs);
  s.temperature = option(from, "temperature", s.temperature);
  s.top_k = option(from, "top_k", s.top_k);
  s.top_p = option(from, "top_p", s.top_p);
  s.min_p = option(from, "min_p", s.min_p);
  s.repetition_penalty = option(from, "repetition_penalty", s.repetition_penalty);
  s.presence_penalty = option(from, "presence_penalty", s.presence_penalty);
  s.frequency_penalty = option(from, "frequency_penalty", s.frequency_penalty);
  s.seed = option(from, "seed", s.seed);
  return o;
}

py::list pairs(std::span<const TokenLogProb> tokens) {
  py::list list;
  for (const TokenLogProb& t : tokens) list.append(py::make_tuple(t.id, t.logprob));
  return list;
}

/// Looks for Ctrl-C at every token, then asks the callable; False of it ends the text.
TokenCallback callback_of(const py::object& callable) {
  return [&callable](const TokenEvent& e) {
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (callable.is_none()) return true;
    return !callable(e.prompt, e.sample, e.id).is(py::bool_(false));
  };
}

py::dict text_dict(const GeneratedText& text, std::size_t top) {
  py::dict row;
  row["prompt"] = text.prompt;
  row["sample"] = text.sample;
  row["ids"] = Ids(static_cast<py::ssize_t>(text.ids.size()), text.ids.data());
  row["finish_reason"] = std::string(name(text.reason));
  if (!text.logprobs.empty())
    row["logprobs"] = Floats(static_cast<py::ssize_t>(text.logprobs.size()), text.logprobs.data());
  if (top == 0) return row;
  py::list tops;
  for (std::size_t i = 0; i < text.ids.size(); ++i)
    tops.append(pairs(std::span(text.top).subspan(i * top, top)));
  row["top_logprobs"] = tops;
  return row;
}

py::dict stats_dict(const GenerationStats& s) {
  py::dict stats;
  stats["prompt_tokens"] = s.prompt_tokens;
  stats["reused_tokens"] = s.reused_tokens;
  stats["generated_tokens"] = s.generated_tokens;
  stats["runs"] = s.runs;
  stats["proposed_tokens"] = s.proposed_tokens;
  stats["accepted_tokens"] = s.accepted_tokens;
  stats["prefill_seconds"] = s.prefill_seconds;
  stats["decode_seconds"] = s.decode_seconds;
  return stats;
}

py::tuple generate(Session& self, const std::vector<std::vector<std::int32_t>>& prompts,
                   const py::dict& options, const py::object& on_token, Session* draft) {
  GenerationOptions recipe = options_of(options);
  const TokenCallback callback = callback_of(on_token);
  const Session::Use use(self);
  std::optional<Session::Use> assistant;
  if (draft) {
    assistant.emplace(*draft);
    assistant->generator().reset();
    recipe.draft = &assistant->model();
  }
  GenerationResult result;
  {
    const py::gil_scoped_release no_gil;
    result = use.generator().generate(prompts, recipe, callback);
  }
  py::list texts;
  for (const GeneratedText& text : result.texts) texts.append(text_dict(text, recipe.top_logprobs));
  return py::make_tuple(texts, stats_dict(result.stats));
}

PerplexityOptions perplexity_options(std::size_t ctx, const py::object& progress) {
  PerplexityOptions options;
  options.ctx = ctx;
  options.progress = [&progress](std::size_t done, std::size_t total) {
    progress_step(progress, done, total, "tokens");
  };
  return options;
}

py::dict perplexity_dict(const Perplexity& p) {
  py::dict row;
  row["perplexity"] = p.perplexity();
  row["mean_loss"] = p.mean_loss;
  row["standard_error"] = p.standard_error;
  row["contexts"] = p.contexts;
  row["predictions"] = p.predictions;
  return row;
}

std::span<const std::int32_t> text_of(const Ids& ids) {
  require(ids.ndim() == 1, "ids must have 1 dimension, not ", ids.ndim());
  return {ids.data(), static_cast<std::size_t>(ids.size())};
}

py::dict measure_perplexity(Session& self, const Ids& ids, std::size_t ctx,
                            const py::object& progress) {
  const Session::Use use(self);
  const auto text = text_of(ids);
  const PerplexityOptions options = perplexity_options(ctx, progress);
  Perplexity result;
  {
    const py::gil_scoped_release no_gil;
    result = perplexity(use.model(), text, options, executor_of(use->model().threads()));
  }
  return perplexity_dict(result);
}

py::dict measure_kl(Session& self, Session& reference, const Ids& ids, std::size_t ctx,
                    const py::object& progress) {
  const Session::Use use(self), other(reference);
  const auto text = text_of(ids);
  const PerplexityOptions options = perplexity_options(ctx, progress);
  Divergence result;
  {
    const py::gil_scoped_release no_gil;
    result = kl_divergence(use.model(), other.model(), text, options,
                           executor_of(use->model().threads()));
  }
  py::dict row;
  row["mean_kl"] = result.mean_kl;
  row["max_kl"] = result.max_kl;
  row["same_top_share"] = result.same_top_share;
  row["model"] = perplexity_dict(result.model);
  row["reference"] = perplexity_dict(result.reference);
  return row;
}

py::list compile(const std::string& model, const std::string& out_path, const py::dict& config,
                 const std::optional<std::pair<Ids, py::array>>& calibration, std::size_t threads,
                 const py::object& progress, bool resume, const py::object& note) {
  const QuantizationConfig recipe = recipe_of(config);
  TokenBatch tokens;
  if (calibration) tokens = batch_of(calibration->first, calibration->second);
  CompileOptions options;
  options.threads = threads;
  options.progress = [&](std::size_t done, std::size_t total, const std::string& what) {
    progress_step(progress, done, total, what);
  };
  options.resume = resume;
  options.note = [&](const std::string& what) {
    const py::gil_scoped_acquire gil;
    if (!note.is_none()) note(what);
  };
  std::vector<LayerReport> reports;
  {
    const py::gil_scoped_release no_gil;
    reports = compile_causal_lm(*Checkpoint::open(model), recipe, tokens, options, out_path);
  }
  return report_rows(reports);
}

py::list explain(const CausalLm& self) {
  py::list rows;
  for (const LayerPlan& plan : self.explain()) {
    py::dict row;
    row["name"] = plan.name;
    row["scheme"] = plan.scheme;
    row["kernel"] = plan.kernel;
    row["bytes"] = plan.bytes;
    rows.append(row);
  }
  return rows;
}

void bind_model(py::module_& m) {
  py::class_<CausalLm>(m, "CausalLm", "A compiled causal language model; immutable.")
      .def(py::init([](const std::string& path, std::size_t threads) {
             return load_causal_lm(path, threads);
           }),
           py::arg("path"), py::arg("threads") = 0, py::call_guard<py::gil_scoped_release>())
      .def("explain", &explain, "A dict for each linear: name, scheme, kernel, bytes.")
      .def_property_readonly("vocab_size", &CausalLm::vocab_size)
      .def_property_readonly("hidden_size", &CausalLm::hidden_size)
      .def_property_readonly("layers", &CausalLm::layers)
      .def_property_readonly("max_positions", &CausalLm::max_positions, "Longest ctx_len.")
      .def_property_readonly("threads", &CausalLm::threads)
      .def_property_readonly(
          "metadata", [](const CausalLm& self) { return self.artifact().metadata(); },
          "JSON text.");
}

void bind_session(py::module_& m) {
  const auto make = [](const CausalLm& model, std::size_t sequences, std::size_t ctx_len,
                       const std::string& kv_cache) {
    const auto format = static_cast<KvFormat>(place(kv_names, kv_cache, "kv_cache"));
    return std::make_unique<Session>(model, CausalSessionOptions{sequences, ctx_len, format});
  };
  py::class_<Session>(m, "CausalSession", "Caches of some sequences. One thread at a time.")
      .def(py::init(make), py::arg("model"), py::arg("sequences") = 1, py::arg("ctx_len") = 0,
           py::arg("kv_cache") = "bf16", py::keep_alive<1, 2>())
      .def_property_readonly("sequences", [](const Session& s) { return s.facts().sequences(); })
      .def_property_readonly("ctx_len", [](const Session& s) { return s.facts().ctx_len(); })
      .def_property_readonly("cache_bytes",
                             [](const Session& s) { return s.facts().cache_bytes(); })
      .def(
          "length",
          [](const Session& s, std::size_t sequence) { return s.facts().length(sequence); },
          py::arg("sequence"))
      .def(
          "truncate",
          [](Session& s, std::size_t sequence, std::size_t length) {
            Session::Use(s)->truncate(sequence, length);
          },
          py::arg("sequence"), py::arg("length"))
      .def(
          "copy_prefix",
          [](Session& s, std::size_t from, std::size_t to, std::size_t length) {
            Session::Use(s)->copy_prefix(from, to, length);
          },
          py::arg("source"), py::arg("to"), py::arg("length"))
      .def(
          "reset", [](Session& s) { Session::Use(s).generator().reset(); },
          "Forgets the tokens of all sequences.")
      .def("run", &run, py::arg("chunks"),
           "chunks: (sequence, int32 ids, whether logits of all tokens); logits (rows, vocab).")
      .def("generate", &generate, py::arg("prompts"), py::arg("options"),
           py::arg("on_token") = py::none(), py::arg("draft") = nullptr,
           "(texts, stats); options by the names of generate.hpp and sampler.hpp.\n\n"
           "on_token(prompt, sample, id): False ends that text, an exception everything.")
      .def("perplexity", &measure_perplexity, py::arg("ids"), py::arg("ctx") = 512,
           py::arg("progress") = py::none())
      .def("kl_divergence", &measure_kl, py::arg("reference"), py::arg("ids"), py::arg("ctx") = 512,
           py::arg("progress") = py::none());
}

}  // namespace

void bind_causal(py::module_& m) {
  bind_model(m);
  bind_session(m);
  m.def("compile_causal_lm", &compile, py::arg("model"), py::arg("out_path"), py::arg("config"),
        py::arg("calibration") = py::none(), py::arg("threads") = 0,
        py::arg("progress") = py::none(), py::arg("resume") = true, py::arg("note") = py::none(),
        "Quantizes a directory, GGUF or llama2.c file to a .qeff artifact; a row (dict) a linear.\n\n"
        "resume: keep what is finished in OUT.partial, and go on from there; note(what) hears of it.");
  m.def(
      "why_no_native_causal_lm", &why_no_native_causal_lm, py::arg("config_json"),
      "Empty if this config.json describes a language model with a native form, else the reason.");
}

}  // namespace qeff::python
