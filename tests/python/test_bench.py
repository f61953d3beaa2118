"""Timing side by side: turns, medians, failures, documents, and the commands themselves."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qeff import InvalidArgument, IoError, QEFFAutoModel
from qeff.bench import contenders, machine, matmul, model, peers, report, worker
from qeff.bench.contenders import Contender, Failed, LocalHandle, ProcessHandle
from qeff.bench.rounds import Plan, Row, rotated, run_cases
from qeff.bench.run import Options, bench_model

QUICK = Plan(rounds=3, seconds=0.0, pause=0.0)
PEERS_FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"

PROVIDER = """
import os, sys, time

def fine(case, factor=1.0):
    print("libraries print on stdout")
    return (lambda: [[1.0 * factor, 2.0 * factor]]), {"version": "7", "weight_bytes": 10, "calls": 2}

def broken(case):
    raise ValueError("no kernel for that\\nand a long story")

def dies(case):
    os._exit(9)

def dies_with_child(case):
    if os.fork():
        os._exit(9)
    time.sleep(3)

def sleeps(case):
    time.sleep(60)

def where(case):
    return (lambda: [[1.0, 2.0]]), {"version": sys.executable, "path": sys.path}
"""


def contender(name: str, library: str = "peer", **changes: Any) -> Contender:
    values = {"provider": "p", "function": "f", "precision": "int8", **changes}
    return Contender(name, library, **values)


class Fake:
    """A handle that takes the times it was told."""

    def __init__(self, name: str, calls: list[str], times: list[float], error: float = 0.0) -> None:
        self.name, self.calls, self.times, self.error = name, calls, iter(times), error
        self.closed = False

    def prepare(self, _case: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(f"prepare {self.name}")
        return {"error": self.error, "version": "1"}

    def slice(self, _seconds: float) -> dict[str, Any]:
        self.calls.append(self.name)
        time = next(self.times)
        if time < 0:
            raise Failed("broke down")
        return {"median": time, "least": time / 2, "runs": 1}

    def close(self) -> None:
        self.closed = True


def measure(
    fakes: list[Fake], libraries: list[str], plan: Plan = QUICK, loose: tuple[str, ...] = ()
) -> list[Row]:
    listed = [
        replace(contender(f.name, lib), held=f.name not in loose)
        for f, lib in zip(fakes, libraries, strict=True)
    ]
    by_name = {f.name: f for f in fakes}
    cases = iter([("any", {"name": "work"})])
    rows, _ = run_cases(
        cases, listed, lambda c: by_name[c.name], plan, {"int8": 0.03}, lambda _: None
    )
    return rows


@pytest.fixture
def case(tmp_path: Path) -> dict[str, Any]:
    np.save(tmp_path / "reference.npy", np.array([[1.0, 2.0]], np.float32))
    return {"name": "work", "folder": str(tmp_path)}


@pytest.fixture
def provider(tmp_path: Path) -> str:
    path = tmp_path / "a_provider_of_tests.py"
    path.write_text(PROVIDER)
    return str(path)


def test_every_turn_begins_with_another_and_then_goes_backwards() -> None:
    assert [rotated("abc", turn) for turn in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["c", "b", "a"],
    ]
    assert rotated([], 5) == []


def test_medians_of_rounds_and_ratio_to_the_best_right_peer() -> None:
    calls: list[str] = []
    own = Fake("own", calls, [2.0, 9.0, 1.0])
    good = Fake("good", calls, [4.0, 4.0, 5.0])
    wrong = Fake("wrong", calls, [0.1, 0.1, 0.1], error=0.5)
    rows = measure([own, good, wrong], ["qeff", "peer", "peer"])
    assert [row.median_s for row in rows] == [2.0, 4.0, 0.1]
    assert [row.ratio for row in rows] == [2.0, 1.0, 40.0]
    assert [row.accurate for row in rows] == [True, True, False]
    assert rows[0].least_s == 0.5
    assert calls[3:] == ["own", "good", "wrong", "good", "wrong", "own", "wrong", "own", "good"]
    assert all(fake.closed for fake in (own, good, wrong))


def test_a_contender_that_breaks_down_becomes_a_row_with_a_reason() -> None:
    calls: list[str] = []
    rows = measure(
        [Fake("own", calls, [1.0] * 3), Fake("bad", calls, [1.0, -1.0])], ["qeff", "peer"]
    )
    assert rows[0].median_s == 1.0
    assert rows[0].ratio is None
    assert (rows[1].median_s, rows[1].rounds_s, rows[1].reason) == (None, [], "broke down")


def test_slow_contenders_get_fewer_rounds() -> None:
    slow = Fake("slow", [], [5.0] * 9)
    rows = measure([slow], ["qeff"], Plan(rounds=7, pause=0.0, slow=2.0, slow_rounds=3))
    assert rows[0].rounds_s == [5.0] * 3


def test_contenders_are_opened_for_their_formats_only_and_failures_to_open_are_rows() -> None:
    opened: list[str] = []

    def open_one(one: Contender) -> Fake:
        opened.append(one.name)
        if one.name == "absent":
            raise Failed("ModuleNotFoundError: No module named 'absent'")
        return Fake(one.name, [], [1.0] * 9)

    cases = iter([("int8", {"name": "a"}), ("int8", {"name": "b"}), ("nf4", {"name": "c"})])
    listed = [contender("own", "qeff"), contender("absent", formats=("int8",))]
    rows, versions = run_cases(cases, listed, open_one, QUICK, {"int8": 0.03}, lambda _: None)
    assert opened == ["own", "absent", "own"]
    assert [(r.case, r.contender) for r in rows][-1] == ("c", "own")
    assert [r.reason for r in rows if r.contender == "absent"] == [
        "ModuleNotFoundError: No module named 'absent'"
    ] * 2
    assert versions == {"qeff": "1"}


def test_relative_error_is_infinite_for_other_shapes_and_nan() -> None:
    reference = np.array([3.0, 4.0], np.float32)
    assert worker.relative_error([3.0, 4.5], reference) == pytest.approx(0.1)
    assert math.isinf(worker.relative_error([3.0], reference))
    assert math.isinf(worker.relative_error([3.0, float("nan")], reference))


def test_a_slice_runs_once_at_least_and_warms_up_first() -> None:
    runs: list[int] = []
    times = worker.time_slice(lambda: runs.append(1), 0.0, warm_up=True)
    assert (times["runs"], len(runs)) == (1, 2)
    assert 0 < times["least"] <= times["median"]


@pytest.mark.parametrize("apart", [False, True])
def test_contenders_work_here_and_in_a_process(
    apart: bool, case: dict[str, Any], provider: str
) -> None:
    def opened(function: str) -> LocalHandle | ProcessHandle:
        one = contender("x", provider=provider, function=function)
        return ProcessHandle(one, sys.executable, {}) if apart else LocalHandle(one)

    good, broken = opened("fine"), opened("broken")
    assert good.prepare(case)["error"] == 0.0
    times = good.slice(0.0)
    assert 0 < times["least"] <= times["median"]
    with pytest.raises(Failed, match=r"^ValueError: no kernel for that$"):
        broken.prepare(case)
    with pytest.raises(Failed, match="nothing is prepared"):
        broken.slice(0.0)
    with pytest.raises(Failed, match="has no attribute"):
        opened("absent")
    good.close()
    broken.close()


def test_a_process_that_dies_or_cannot_start_is_a_failure(
    case: dict[str, Any], provider: str
) -> None:
    handle = ProcessHandle(contender("x", provider=provider, function="dies"), sys.executable, {})
    for _ in range(2):
        with pytest.raises(Failed, match="its process ended with code 9"):
            handle.prepare(case)
    with pytest.raises(Failed, match="No such file"):
        ProcessHandle(contender("x", provider=provider), "/nonexistent/python", {})


def test_a_process_that_leaves_a_child_or_does_not_answer_is_a_failure(
    case: dict[str, Any], provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "_LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(contenders, "EXIT_TIMEOUT_S", 0.05)
    one = contender("x", provider=provider, function="dies_with_child")
    with pytest.raises(Failed, match="its process ended with code 9"):
        ProcessHandle(one, sys.executable, {}).prepare(case)
    handle = ProcessHandle(contender("x", provider=provider, function="sleeps"), sys.executable, {})
    monkeypatch.setattr(contenders, "PREPARE_TIMEOUT_S", 0.1)
    with pytest.raises(Failed, match="no answer in 0 s"):
        handle.prepare(case)


def test_workers_do_not_see_modules_of_the_package(case: dict[str, Any], provider: str) -> None:
    one = contender("x", provider=provider, function="where")
    handle = ProcessHandle(one, sys.executable, {})
    facts = handle.prepare(case)
    handle.close()
    assert str(Path(worker.__file__).parent) not in facts["path"]


def test_built_in_cases_cover_every_format_and_rotate_only_out_of_cache() -> None:
    assert {case.format for case in matmul.CASES} == set(matmul.FORMATS)
    assert len({case.name for case in matmul.CASES}) == len(matmul.CASES)
    for one in matmul.CASES:
        rotated_bytes = one.to_dict()["rotate_bytes"]
        assert rotated_bytes == (machine.rotation_bytes() if one.out_of_cache else 0)
    assert matmul.rotation_copies(100, 30) == 4
    assert matmul.rotation_copies(0, 30) == 1


@pytest.mark.parametrize("text", ["4x64", "4x64x0", "axbxc", "4x64x64,", "4x-1x3"])
def test_bad_shapes_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not MxNxK"):
        matmul.parse_shapes(text, None)
    with pytest.raises(InvalidArgument, match="is not one of int8"):
        matmul.parse_shapes(None, "int9")


def test_every_way_of_qeff_is_within_its_tolerance() -> None:
    shapes = matmul.parse_shapes("3x48x256", None)
    known = {name for one in matmul.CONTENDERS for name in one.formats}
    assert known == set(matmul.FORMATS)
    for case_format, made in matmul.prepared(shapes, 1):
        for one in (c for c in matmul.CONTENDERS if c.takes(case_format)):
            facts = LocalHandle(one).prepare({**made, "rotate_bytes": 100_000})
            assert facts["error"] < matmul.TOLERANCES[one.precision], one.name
            assert facts["copies"] == -(-100_000 // facts["weight_bytes"])
            assert "roof_seconds" not in facts


def test_out_of_cache_the_roof_is_reading_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Packed:
        nbytes = 4_000_000_000

        def plan(self, rows: int, measure: bool, threads: int) -> dict[str, float]:
            assert (rows, measure, threads) == (1, False, 2)
            return {"least_seconds": 0.1}

    monkeypatch.setattr(matmul, "roof", lambda _: {"gb_per_s": {"memory": {"one": 4, "all": 8}}})
    packed: Any = Packed()
    case = {"m": 1, "threads": 2, "rotate_bytes": 0}
    assert matmul.roof_seconds(case, packed) == 0.1
    assert matmul.roof_seconds({**case, "rotate_bytes": 1}, packed) == 0.5


def test_texts_have_the_numbers_of_tokens_of_the_case(tiny_bert: Path) -> None:
    from qeff.resolve import resolve_model

    tokenizer = model.tokenizer_of(resolve_model(str(tiny_bert)))
    wanted = model.ModelCase("mixed", (9, 5, 39, 5))
    lengths = [len(row) for row in tokenizer.ids(model.texts_of(wanted, tokenizer), 40)]
    assert sorted(lengths) == [5, 5, 9, 39]


def test_an_isa_that_the_cpu_has_not_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="this CPU has portable"):
        machine.worker_environment(2, "avx9000")
    with pytest.raises(InvalidArgument, match="can be held to avx2"):
        machine.worker_environment(2, "portable")
    assert machine.worker_environment(3, None)["OMP_NUM_THREADS"] == "3"


def test_peers_without_a_checkout_are_an_error_that_says_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "__file__", str(tmp_path / "a/b/c/d/peers.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IoError, match="needs a checkout of qeff"):
        peers.peers_of("matmul")


@pytest.mark.parametrize(("program", "tolerances"), [("matmul", matmul), ("minilm", model)])
def test_listed_peers_have_a_provider_function_and_a_tolerance(
    program: str, tolerances: Any
) -> None:
    listed = peers.peers_of(program)
    assert len({one.name for one in listed}) == len(listed)
    for one in listed:
        assert f"\ndef {one.function}(case: Facts" in Path(one.provider).read_text()
        assert one.precision in tolerances.TOLERANCES
        assert set(one.formats) <= set(matmul.FORMATS)


@pytest.fixture
def quantizers() -> Iterator[Any]:
    """The quantizers of the peers' side."""
    sys.path.insert(0, str(PEERS_FOLDER))
    yield importlib.import_module("quantizers")
    sys.path.remove(str(PEERS_FOLDER))


@pytest.mark.parametrize("group", [32, 128])
def test_quantizers_of_peers_round_to_the_nearest(group: int, quantizers: Any) -> None:
    w = np.random.default_rng(0).standard_normal((8, 256)).astype(np.float32)
    codes, scale, zero = quantizers.affine_groups(w, group)
    values = (codes.astype(np.float32) - zero[..., None]) * scale[..., None]
    worst = np.abs(values - w.reshape(values.shape)) / scale[..., None]
    assert worst.max() <= 1.0  # half a step, and half a step of the zero point
    codes, largest = quantizers.nf4_blocks(w, group)
    values = quantizers.NF4[codes] * largest[..., None]
    nearest = np.abs(w.reshape(values.shape)[..., None] / largest[..., None, None] - quantizers.NF4)
    np.testing.assert_array_equal(codes, nearest.argmin(-1))


def document() -> dict[str, Any]:
    def row(library: str, name: str, seconds: float | None, **changes: Any) -> dict[str, Any]:
        figures = {"GOPS": 1 / seconds} if seconds else {}
        values = {"median_s": seconds, "least_s": seconds, "figures": figures, "accurate": True}
        ratio = {"ratio": 0.002 / seconds if seconds else None, "error": 0.01}
        return Row("w", name, library, "int8").to_dict() | values | ratio | changes

    rows = [
        row("qeff", "qeff", 0.001),
        row("peer", "peer a", 0.002),
        row("peer", "peer b", 0.0005, accurate=False),
        row("peer", "peer c", None, reason="not | installed", error=None),
        row("peer", "peer d", 0.0005, held=False),
    ]
    return {
        "kind": "kernels",
        "machine": machine.describe_machine(2, "avx2"),
        "libraries": {"peer": "1.0"},
        "settings": {"rounds": 3, "seconds": 0.1},
        "rows": rows,
    }


def test_markdown_names_the_best_right_peer_and_shows_reasons() -> None:
    summary = report.summary_table(document()).splitlines()
    assert summary[2] == "| w | qeff | 1.00 ms | 1,000 | peer a | 500 | 2.00 |"
    table = report.full_table(document())
    assert "| w | peer b | result too far off | 500 µs | 500 µs | (2,000) |" in table
    assert "not \\| installed" in table
    assert "| w | peer d | not held | 500 µs |" in table
    assert "except those no ratio is to: ONNX Runtime" in report.to_markdown(document())


def test_markdown_tells_the_ratio_that_the_roof_allows() -> None:
    one = document()
    one["rows"][0]["figures"]["of roof"] = 0.8
    head, _, line = report.summary_table(one).splitlines()
    assert head.endswith("| ratio | at the roof |")
    assert line == "| w | qeff | 1.00 ms | 1,000 | 0.8 | peer a | 500 | 2.00 | 2.50 |"


def test_no_ratio_is_to_a_peer_that_no_switch_holds() -> None:
    assert machine.is_held("ONNX Runtime int8", None)
    assert not machine.is_held("ONNX Runtime int8", "avx2")
    assert machine.is_held("OpenVINO 4-bit, int8 inputs", "avx2")
    calls: list[str] = []
    times = {"own": 2.0, "loose": 1.0, "held": 4.0}
    fakes = [Fake(name, calls, [time] * 3) for name, time in times.items()]
    rows = measure(fakes, ["qeff", "peer", "peer"], loose=("loose",))
    assert [row.ratio for row in rows] == [2.0, 4.0, 1.0]


def test_marked_places_are_replaced_again_and_again() -> None:
    page = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n"
    once = report.replace_marked(page, "x", "new \\1\n")
    assert once == "a\n<!-- begin x -->\nnew \\1\n<!-- end x -->\nb\n"
    assert report.replace_marked(once, "x", "new \\1") == once
    with pytest.raises(InvalidArgument, match="no place marked"):
        report.replace_marked(page, "y", "new")


def test_the_page_is_filled_from_json_documents(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- begin m -->\n<!-- end m -->\n")
    (tmp_path / "m.one.json").write_text(json.dumps(document()))
    second = document()
    second["rows"][0]["case"] = "v"
    (tmp_path / "m.two.json").write_text(json.dumps(second))
    (tmp_path / "other.json").write_text("{}")
    command = [sys.executable, PEERS_FOLDER / "report.py", "--page", page, "--figures", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "page.md: m\n"
    assert "| w | qeff | 1.00 ms |" in page.read_text()
    assert "| v | qeff | 1.00 ms |" in page.read_text()
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qeff", "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_bench_kernels_prints_one_json_document_and_writes_its_files(tmp_path: Path) -> None:
    files = ("--markdown", tmp_path / "t.md", "--plot", tmp_path / "t.png")
    quick = ("--rounds", "2", "--slice", "0.001", "--threads", "1", "--json")
    done = run("kernels", "--shapes", "4x64x64", *quick, *files)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["machine"]["threads"] == 1
    assert {row["case"].split()[0] for row in result["rows"]} == set(matmul.FORMATS)
    for row in result["rows"]:
        assert row["figures"]["GOPS"] == pytest.approx(2 * 4 * 64 * 64 / row["median_s"] / 1e9)
        assert len(row["rounds_s"]) == 2
        assert row["accurate"]
    assert "| int8 4x64x64 | qeff |" in (tmp_path / "t.md").read_text()
    assert (tmp_path / "t.png").stat().st_size > 1000


def test_bench_model_times_schemes(tiny_bert: Path) -> None:
    quick = ("--rounds", "1", "--slice", "0.001", "--shapes", "2x9", "--json")
    done = run("model", tiny_bert, "--schemes", "int8,nf4", *quick)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["contender"] for row in rows] == [
        "qeff int8",
        "qeff int8, tokenization included",
        "qeff nf4",
    ]
    for row in rows:
        assert row["accurate"], row
        assert row["figures"]["sentences/s"] == pytest.approx(2 / row["median_s"])


def test_bench_model_times_an_artifact_as_it_is_but_not_beside_peers(
    tiny_bert: Path, tmp_path: Path
) -> None:
    path = tmp_path / "tiny.qeff"
    QEFFAutoModel.from_pretrained(tiny_bert).compile(path)
    quick = Options(threads=1, plan=QUICK)
    rows = bench_model(str(path), quick, shapes="2x9")["rows"]
    assert [row["error"] for row in rows] == [0.0, 0.0]
    with pytest.raises(InvalidArgument, match="not an artifact"):
        bench_model(str(path), Options(peers=True))


def test_a_library_that_is_not_installed_is_a_row(tmp_path: Path) -> None:
    done = run(
        "kernels", "--shapes", "1x32x64", "--formats", "int8", "--rounds", "1", "--slice", "0",
        "--peers", "--peers-python", tmp_path / "none", "--only", "onednn,qeff", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {row["contender"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows["qeff"]["median_s"] > 0
    assert "No such file" in rows["torch oneDNN int8"]["reason"]


def test_bad_arguments_end_with_their_code_and_a_sentence() -> None:
    for arguments, message in (
        (("kernels", "--shapes", "4x64"), "is not MxNxK"),
        (("kernels", "--isa", "avx9000", "--shapes", "1x1x1"), "this CPU has"),
    ):
        done = run(*arguments)
        assert done.returncode == 3, done.stderr
        assert message in done.stderr
        assert not done.stdout
