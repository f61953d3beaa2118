"""The roof and explain: what they say of this machine and of each layer. No figure is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import qeff
from qeff import _core


@pytest.fixture(scope="module")
def artifact(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("explain") / "tiny.qeff"
    qeff.QEFFAutoModel.from_pretrained(tiny_bert).compile(out)
    return out


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qeff", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_roof_is_measured_once_and_has_every_figure_of_the_isa() -> None:
    roof = qeff.roof()
    assert qeff.roof() == roof
    assert roof["isa"] == qeff.cpu_info()["active"]
    assert roof["threads"] == qeff.cpu_info()["cores"]
    assert {"int8", "u4", "f32"} <= roof["gops"].keys()
    assert roof["gops"]["int8"].keys() == {"registers", "fed_l1", "fed_l2"}
    assert {"l1", "l2", "memory"} <= roof["gb_per_s"].keys()
    rates = [rate for places in roof["gops"].values() for rate in places.values()]
    for rate in rates + list(roof["gb_per_s"].values()):
        assert rate["one"] > 0
        assert rate["all"] > 0


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_roof_takes_some_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds must be positive"):
        _core.measure_roof(seconds)


def test_rows_give_a_row_for_each_layer_and_number(artifact: Path) -> None:
    session = qeff.load(artifact)
    plain = session.explain()
    rows = session.explain(rows=[1, 64])
    assert [(row["name"], row["rows"]) for row in rows] == [
        (row["name"], m) for row in plain for m in (1, 64)
    ]
    assert not any("seconds" in row for row in rows)
    linears = session.metadata["linears"]
    assert len(linears) == len(plain)
    for row in rows:
        weights = next(one["bytes"] for one in plain if one["name"] == row["name"])
        assert row["bytes"] == weights
        assert row["pass_bytes"] > weights
        assert (row["pass_bytes"] - weights) % row["rows"] == 0
        assert row["bound"] in {"L1", "L2", "L3", "memory", "products"}
        assert row["least_seconds"] > 0
        assert row["kernel"].startswith(qeff.cpu_info()["active"])
    for one, many in zip(rows[::2], rows[1::2], strict=True):
        assert many["operations"] == 64 * one["operations"]
    assert session.explain(rows=1) == rows[::2]


def test_measured_rows_have_a_time_and_a_share(artifact: Path) -> None:
    for row in qeff.load(artifact, num_cores=1).explain(rows=3, measure=True):
        assert row["seconds"] > 0
        assert row["roof_share"] == pytest.approx(row["least_seconds"] / row["seconds"])


@pytest.mark.parametrize("rows", [0, -1, [4, 0], [2.5], [True], "12"])
def test_rows_are_whole_numbers_from_1_on(artifact: Path, rows: object) -> None:
    with pytest.raises(ValueError, match="rows must be whole numbers from 1 on"):
        qeff.load(artifact).explain(rows=rows)  # type: ignore[arg-type]


def test_measure_without_rows_is_refused(artifact: Path) -> None:
    with pytest.raises(ValueError, match="measure needs rows"):
        qeff.load(artifact).explain(measure=True)


def test_packed_weights_have_a_plan_of_their_own() -> None:
    weights = np.ones((24, 32), np.float32)
    packed = qeff.pack(qeff.quantize(weights, qeff.AffineConfig(bits=8)))
    plan = packed.plan(5, True, 1)
    assert plan["operations"] == 2 * 5 * 24 * 32
    assert plan["seconds"] > 0
    with pytest.raises(ValueError, match="rows must be at least 1"):
        packed.plan(0)


def test_the_command_line_shows_one_table(artifact: Path) -> None:
    done = run("explain", artifact, "--rows", "1, 16", "--measure", "--num-cores", 1)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1 + 2 * len(qeff.load(artifact).explain())
    assert all(word in lines[0] for word in ("rows", "MB a pass", "bound", "least us", "of roof"))
    assert all(line.rstrip().endswith("%") for line in lines[1:])
    document = json.loads(run("explain", artifact, "--rows", "2", "--json").stdout)
    assert {row["rows"] for row in document["layers"]} == {2}


@pytest.mark.parametrize("rows", ["", "0", "1,,2", "1,x", "-4"])
def test_bad_rows_are_an_error_of_input(artifact: Path, rows: str) -> None:
    done = run("explain", artifact, f"--rows={rows}")
    assert done.returncode == 3
    assert "--rows takes whole numbers from 1 on" in done.stderr


def test_info_shows_the_roof_when_asked() -> None:
    done = run("info", "--roof", "--num-cores", 1)
    assert done.returncode == 0, done.stderr
    assert "roof of" in done.stdout
    assert "int8 from registers" in done.stdout
    assert "read memory" in done.stdout
    environment = os.environ | {"QEFF_MAX_ISA": "portable"}
    command = [sys.executable, "-m", "qeff", "info", "--roof", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout)["roof"]["isa"] == "portable"
