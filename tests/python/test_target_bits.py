"""Bits chosen under a budget, from Python and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import qeff

IDS = [[(7 * i + j) % 250 for i in range(40)] for j in range(3)]


def average_bits(rows: list[dict]) -> float:
    linears = [row for row in rows if ".layers." in row["name"]]
    weights = sum(row["rows"] * row["cols"] for row in linears)
    return sum(row["bits"] * row["rows"] * row["cols"] for row in linears) / weights


def test_the_report_shows_bits_within_the_budget(llama: Path, tmp_path: Path) -> None:
    model = qeff.QEFFAutoModelForCausalLM.from_pretrained(llama)
    config = qeff.GPTQConfig(target_bits=5.5, range_grid=4, activations="int8")
    model.compile(tmp_path / "out.qeff", quantization=config, calibration=IDS, num_cores=1)
    assert 5 < average_bits(list(model.report)) <= 5.5
    assert "| bits |" in model.report.to_markdown()
    schemes = {row["scheme"] for row in model.explain() if row["name"].startswith("layers.")}
    assert len(schemes) > 1
    assert len(model.generate(prompts="mixed", generation_len=4)) > 0


def test_a_recipe_with_a_budget_survives_plain_values() -> None:
    for recipe in (qeff.GPTQConfig, qeff.AWQConfig, qeff.AffineConfig):
        config = recipe(target_bits=4.5)
        assert qeff.GPTQConfig.__mro__[1].from_dict(config.to_dict()) == config
        assert config.needs_calibration
        assert config.native()["target_bits"] == 4.5
        assert "target_bits" not in recipe().native()
    assert not qeff.AffineConfig().needs_calibration


def test_impossible_budgets_are_refused(llama: Path, tmp_path: Path) -> None:
    for wrong in (3.9, 16, "4", True):
        with pytest.raises(ValueError, match="target_bits"):
            qeff.GPTQConfig(target_bits=wrong)
    model = qeff.QEFFAutoModelForCausalLM.from_pretrained(llama)
    with pytest.raises(ValueError, match=r"target_bits is 4.1; .* from 4\.\d+ to 8\.\d+ bits"):
        model.compile(
            tmp_path / "o.qeff", quantization=qeff.GPTQConfig(target_bits=4.1), calibration=IDS
        )
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_takes_a_budget(llama: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qeff", "quantize", str(llama), str(tmp_path / "o.qeff")]
    command += ["--scheme", "int4", "--target-bits", "5.5", "--no-resume", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 5 < average_bits(json.loads(done.stdout)["rows"]) <= 5.5
