"""Timing of language models, alone and beside others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from qeff.bench import llm

PEERS = ROOT / "benchmarks" / "peers"
LLAMA_BENCH = """#!{python}
import json, sys
a = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "broken" in a["-m"]: sys.exit("no such model")
print(json.dumps([{{"n_prompt": int(a["-p"]), "n_gen": int(a["-n"]), "build_commit": "abc",
                    "avg_ts": 0.5 if a["-p"] != "0" else 1e9}}]))
"""


@pytest.fixture
def llama_bench(tmp_path: Path) -> Path:
    """A program that answers as llama-bench does."""
    program = tmp_path / "llama-bench"
    program.write_text(LLAMA_BENCH.format(python=sys.executable))
    program.chmod(0o755)
    return program


def qeff(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qeff", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_every_scheme_cache_batch_and_test_is_a_row(llama: Path, tmp_path: Path) -> None:
    flags = ["--schemes", "int8,none", "--kv-cache", "bf16,int8", "--tests", "pp8,tg4"]
    flags += ["--batch", "1,3", "--rounds", "2", "--threads", "1"]
    done = qeff("bench", "llm", llama, *flags, "--markdown", tmp_path / "t.md", "--json")
    document = json.loads(done.stdout)
    rows = [(r["scheme"], r["kv_cache"], r["test"], r["batch"]) for r in document["rows"]]
    assert sorted(rows) == sorted(
        (scheme, cache, test + (" x 3" if batch == 3 else ""), batch)
        for scheme in ("int8", "none")
        for cache in ("bf16", "int8")
        for test in ("pp8", "tg4")
        for batch in (1, 3)
    )
    for row in document["rows"]:
        assert len(row["samples"]) == 2
        assert 0 < row["least"] <= row["tokens_per_second"] <= row["most"]
    table = (tmp_path / "t.md").read_text()
    assert table.count("\n") == 4 + len(rows)
    assert "| int8 | bf16 | pp8 |" in table


def test_an_artifact_is_timed_as_it_is(llama: Path) -> None:
    artifact = next(iter(llm.artifacts_of(str(llama), ["int4"], 1).values()))
    options = llm.LlmOptions(tests=llm.parse_tests("tg2"), rounds=1, threads=1)
    assert len(llm.bench_llm(artifact, options)["rows"]) == 1


def test_the_work_that_is_timed_is_the_work_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[list[int], int]] = []

    class Session:
        def __init__(self, *arguments: Any) -> None:
            assert arguments[1:] == (2, 8, "int8")

        def reset(self) -> None: ...

        def generate(self, prompts: list[list[int]], options: dict[str, Any]) -> Any:
            seen.append(([len(p) for p in prompts], options["max_new_tokens"]))
            assert all(0 <= id < 100 for p in prompts for id in p)
            return [], {"prefill_seconds": 2.0, "decode_seconds": 4.0}

    class Model:
        vocab_size = 100

    monkeypatch.setattr(llm._core, "CausalSession", Session)
    prompts, texts = (
        llm.Timer(Model(), test, "int8").tokens_per_second()  # type: ignore[arg-type]
        for test in llm.parse_tests("pp6,tg6", "2")
    )
    assert (prompts, texts) == (6.0, 3.0)
    assert seen == [([6, 6], 1), ([1, 1], 7)]


@pytest.mark.parametrize("flags", [("--tests", "pp0"), ("--tests", "xx5"), ("--batch", "0")])
def test_tests_that_make_no_sense_are_refused(llama: Path, flags: tuple[str, str]) -> None:
    assert "tests are like pp512,tg64" in qeff("bench", "llm", llama, *flags, code=3).stderr


def test_beside_others_ratios_are_to_the_best_peer_of_the_run(
    llama: Path, llama_bench: Path, tmp_path: Path
) -> None:
    out = tmp_path / "llm.json"
    flags = ["--schemes", "int8", "--tests", "pp8,tg4", "--rounds", "3", "--threads", "1"]
    flags += ["--llama-bench", str(llama_bench), "--gguf", "a-Q4_0.gguf", "--gguf", "broken.gguf"]
    flags += ["--openvino", "4", "--torch", "float32"]
    flags += ["--json", str(out), "--markdown", str(tmp_path / "llm.md")]
    command = [sys.executable, str(PEERS / "llm.py"), str(llama), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    document = json.loads(out.read_text())
    rows = {(row["test"], row["contender"]): row for row in document["rows"]}
    for test, speed in (("pp8", 0.5), ("tg4", 1e9)):
        own, peer = rows[test, "qeff int8"], rows[test, "llama.cpp a-Q4_0"]
        assert peer["samples"] == [speed] * 3
        torch = rows[test, "torch float32"]["tokens_per_second"]
        assert torch > 0
        assert own["ratio"] == pytest.approx(own["tokens_per_second"] / max(speed, torch))
        assert "no such model" in rows[test, "llama.cpp broken"]["reason"]
    assert document["libraries"]["llama.cpp"] == "abc"
    assert "OpenVINO int4 is not there" in done.stderr or "OpenVINO" in document["libraries"]
    assert (tmp_path / "llm.md").read_text() == done.stdout
    assert "| pp8 | llama.cpp a-Q4_0 | 0.5 |" in done.stdout
