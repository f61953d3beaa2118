"""Proposed tokens change how a text is generated, never the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import qeff


def test_prompt_lookup_gives_the_same_tokens(runner: Any) -> None:
    prompt = "abcabcabcabc" * 4
    plain = runner.generate([prompt], max_new_tokens=50, details=True)
    guessed = runner.generate([prompt], max_new_tokens=50, prompt_lookup_num_tokens=5, details=True)
    assert guessed.texts[0].ids.tolist() == plain.texts[0].ids.tolist()
    assert guessed.stats["proposed_tokens"] > 0


def test_an_assistant_model_changes_the_runs_and_not_the_tokens(
    model: qeff.QEFFAutoModelForCausalLM, llama: Path, tmp_path: Path
) -> None:
    small = qeff.QEFFAutoModelForCausalLM.from_pretrained(llama)
    small.compile(tmp_path / "draft.qeff", quantization="int8", num_cores=1)
    runner, prompts = model.session, ["abc", "a much longer prompt", "0"]
    for sampling in ({}, {"temperature": 0.7, "seed": 3}):
        options = {"max_new_tokens": 40, "details": True, **sampling}
        plain = runner.generate(prompts, **options)
        helped = runner.generate(prompts, assistant_model=small, num_assistant_tokens=4, **options)
        for one, other in zip(helped.texts, plain.texts, strict=True):
            assert one.ids.tolist() == other.ids.tolist()
        assert 0 < helped.stats["accepted_tokens"] <= helped.stats["proposed_tokens"]
        assert helped.stats["runs"] < plain.stats["runs"]
    with pytest.raises(
        TypeError, match="assistant_model must be a compiled language model, not str"
    ):
        runner.generate("a", assistant_model="small")
    with pytest.raises(qeff.InvalidArgument, match="in use"):
        runner.generate("a", assistant_model=runner)
    with pytest.raises(qeff.InvalidArgument, match="not both"):
        runner.generate("a", assistant_model=small, prompt_lookup_num_tokens=3)
