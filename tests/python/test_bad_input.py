"""Bad input gets a typed error that names the offender, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qeff


@pytest.fixture
def model_dir(tiny_bert: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def compile_to(model_dir: Path, out: Path, **options: Any) -> None:
    qeff.QEFFAutoModel.from_pretrained(model_dir).compile(out, **options)


def refused(model_dir: Path, kind: type[Exception], message: str, **options: Any) -> Exception:
    """Compiling fails like this and writes nothing."""
    folder = model_dir.parent / "output"
    folder.mkdir(exist_ok=True)
    with pytest.raises(kind, match=message) as caught:
        compile_to(model_dir, folder / "m.qeff", **options)
    assert not list(folder.iterdir())
    return caught.value


def read_header(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write_header(path: Path, header: dict[str, Any] | bytes, data: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def change_header(model_dir: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = model_dir / "model.safetensors"
    header, data = read_header(path)
    change(header)
    write_header(path, header, data)


def first_tensor(header: dict[str, Any]) -> dict[str, Any]:
    return next(row for name, row in header.items() if name != "__metadata__")


def set_weight(model_dir: Path, name: str, index: int, value: float) -> None:
    path = model_dir / "model.safetensors"
    header, data = read_header(path)
    start = header[name]["data_offsets"][0] + 4 * index
    changed = bytearray(data)
    changed[start : start + 4] = struct.pack("<f", value)
    write_header(path, header, bytes(changed))


# safetensors


def test_truncated_safetensors(model_dir: Path) -> None:
    path = model_dir / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    error = refused(model_dir, qeff.FormatError, r"model\.safetensors")
    assert "model.safetensors" in error.file  # type: ignore[attr-defined]


def test_empty_safetensors(model_dir: Path) -> None:
    (model_dir / "model.safetensors").write_bytes(b"")
    refused(model_dir, qeff.FormatError, r"model\.safetensors")


def test_shape_product_overflow(model_dir: Path) -> None:
    change_header(model_dir, lambda h: first_tensor(h).update(shape=[2**33, 2**33]))
    refused(model_dir, qeff.FormatError, "overflow|too large|shape")


def test_overlapping_offsets(model_dir: Path) -> None:
    def overlap(header: dict[str, Any]) -> None:
        rows = sorted(
            (r for n, r in header.items() if n != "__metadata__"), key=lambda r: r["data_offsets"]
        )
        begin, end = rows[1]["data_offsets"]
        rows[1]["data_offsets"] = [begin - 4, end - 4]

    change_header(model_dir, overlap)
    refused(model_dir, qeff.FormatError, "overlap|hole|offset|begin")


def test_offsets_outside_the_file(model_dir: Path) -> None:
    def outside(header: dict[str, Any]) -> None:
        row = first_tensor(header)
        begin, end = row["data_offsets"]
        row["data_offsets"] = [begin + 2**40, end + 2**40]

    change_header(model_dir, outside)
    refused(model_dir, qeff.FormatError, r"model\.safetensors")


def test_duplicate_keys(model_dir: Path) -> None:
    path = model_dir / "model.safetensors"
    header, data = read_header(path)
    name = next(n for n in header if n != "__metadata__")
    text = json.dumps(header)[:-1] + f', "{name}": {json.dumps(header[name])}}}'
    write_header(path, text.encode(), data)
    refused(model_dir, qeff.FormatError, "(?i)duplicate|twice")


def test_deep_nesting(model_dir: Path) -> None:
    write_header(
        model_dir / "model.safetensors", b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", b""
    )
    refused(model_dir, qeff.FormatError, "(?i)nest|deep")


def test_a_missing_tensor_is_named(model_dir: Path) -> None:
    def rename(header: dict[str, Any]) -> None:
        header["encoder.layer.0.attention.self.querz.weight"] = header.pop(
            "encoder.layer.0.attention.self.query.weight"
        )

    change_header(model_dir, rename)
    refused(model_dir, qeff.FormatError, r"encoder\.layer\.0\.attention\.self\.query\.weight")


def test_a_pickle_only_directory_is_refused(model_dir: Path) -> None:
    (model_dir / "model.safetensors").rename(model_dir / "pytorch_model.bin")
    refused(model_dir, qeff.Unsupported, "(?i)pickle|safetensors")


# weights


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("scheme", ["int8", "gptq", None])
def test_nan_and_inf_weights_are_named_by_tensor_and_index(
    model_dir: Path, value: float, scheme: str | None
) -> None:
    name = "encoder.layer.1.intermediate.dense.weight"
    set_weight(model_dir, name, 77, value)
    refused(model_dir, ValueError, rf"{name}.*77", quantization=scheme, calibration=["the cat"])


def test_nan_in_a_matrix_is_named_by_its_place() -> None:
    w = np.ones((4, 8), np.float32)
    w[2, 5] = np.nan
    with pytest.raises(qeff.InvalidArgument, match=r"(?i)nan.*2.*5|2.*5.*nan"):
        qeff.quantize(w, "int8")


# artifacts


@pytest.fixture(scope="module")
def artifact_bytes(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("artifact") / "m.qeff"
    compile_to(tiny_bert, out)
    return out.read_bytes()


@pytest.mark.parametrize("place", [3, 20, 100, 5000, -5])
def test_an_artifact_with_a_flipped_byte(artifact_bytes: bytes, place: int, tmp_path: Path) -> None:
    damaged = bytearray(artifact_bytes)
    damaged[place] ^= 0x10
    path = tmp_path / "m.qeff"
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"m\.qeff") as caught:
        qeff.QEFFAutoModel.from_pretrained(path).encode("the cat")
    assert isinstance(caught.value, qeff.QeffError)


def test_a_truncated_artifact(artifact_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.qeff"
    for length in (0, 7, 63, 64, 500, len(artifact_bytes) - 1):
        path.write_bytes(artifact_bytes[:length])
        with pytest.raises(qeff.FormatError, match=r"m\.qeff"):
            qeff.load(path)


def test_an_artifact_of_a_newer_version(artifact_bytes: bytes, tmp_path: Path) -> None:
    newer = bytearray(artifact_bytes)
    newer[8:12] = struct.pack("<I", 99)
    path = tmp_path / "m.qeff"
    path.write_bytes(newer)
    with pytest.raises(qeff.Unsupported, match="99"):
        qeff.load(path)


def test_an_artifact_naming_a_foreign_class_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    path = tmp_path / "m.qeff"
    metadata = {"kind": "transformers", "class": "os:system", "config": {}, "modules": []}
    qeff._core.write_artifact(str(path), json.dumps(metadata), {"a": np.zeros(1, np.float32)})
    with pytest.raises(qeff.FormatError, match="'os:system', which is none of transformers"):
        qeff.load(path)


# arrays


def test_wrong_shapes() -> None:
    packed = qeff.pack(qeff.quantize(np.ones((4, 8), np.float32), "int8"))
    with pytest.raises(qeff.InvalidArgument, match=r"x has shape \(3, 7\), the weights \(4, 8\)"):
        qeff.matmul(np.ones((3, 7), np.float32), packed)
    with pytest.raises(qeff.InvalidArgument, match=r"bias must be .* of shape \(4,\)"):
        qeff.matmul(np.ones((3, 8), np.float32), packed, np.ones(5, np.float32))
    with pytest.raises(
        qeff.InvalidArgument, match=r"residual has shape \(4, 4\), expected \(3, 4\)"
    ):
        qeff.matmul(np.ones((3, 8), np.float32), packed, residual=np.ones((4, 4), np.float32))
    with pytest.raises(qeff.InvalidArgument, match="single number"):
        qeff.quantize(np.float32(1.0), "int8")
    with pytest.raises(qeff.InvalidArgument, match="without any element"):
        qeff.quantize(np.ones((0, 8), np.float32), "int8")


@pytest.mark.parametrize(
    ("array", "kind", "message"),
    [
        (np.ones((2, 2), ">f4"), ValueError, r"has byte order '>f4'.*use w\.astype\('float32'\)"),
        (np.ones((2, 2), object), TypeError, "has dtype object; qeff takes float32"),
        (np.ones((2, 2), complex), TypeError, "has dtype complex128; qeff takes float32"),
        (np.ones((2, 2), bool), TypeError, "has dtype bool; qeff takes float32"),
        (np.ones((2, 2), np.int32), TypeError, "has dtype int32; qeff takes float32"),
        (np.array([["a"]]), TypeError, "has dtype <U1; qeff takes float32"),
        (np.full((2, 2), 1e300), ValueError, "float64 values beyond the range of float32"),
        ("text", TypeError, "expected a numpy array or a torch CPU tensor, not str"),
    ],
)
def test_arrays_of_other_types(array: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        qeff.quantize(array, "int8")


def test_sparse_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"use \.to_dense"):
        qeff.quantize(torch.eye(4).to_sparse(), "int8")
    with pytest.raises(ValueError, match="on device meta"):
        qeff.quantize(torch.empty(4, 4, device="meta"), "int8")


# calibration, token ids, schemes


@pytest.mark.parametrize(
    ("calibration", "kind", "message"),
    [
        ([], ValueError, "calibration is empty"),
        (["", "  "], ValueError, "only empty texts"),
        ("one text", TypeError, "must be a list of texts"),
        (7, TypeError, "must be texts or token ids, not int"),
        ([[2, 3], []], ValueError, "sequence 1: has no token"),
        ([[2, 4_000, 3]], ValueError, "4000"),
    ],
)
def test_calibration_that_is_none(
    model_dir: Path, calibration: Any, kind: type[Exception], message: str
) -> None:
    refused(model_dir, kind, message, quantization="gptq", calibration=calibration)


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        ({"input_ids": [[2, 60, 3]]}, ValueError, r"60"),
        ({"input_ids": [[2, -1, 3]]}, ValueError, r"-1"),
        ({"input_ids": [[2, 2**40, 3]]}, ValueError, r"1099511627776"),
        ({"input_ids": [[5] * 41]}, ValueError, "41"),
        ({"input_ids": [[2, 3], [2]]}, ValueError, "rows have different lengths"),
        ({"input_ids": [[]]}, ValueError, r"has shape \(1, 0\)"),
        ({"input_ids": [[2.0, 3.0]]}, TypeError, "has dtype float64; expected whole numbers"),
        (
            {"input_ids": [[2, 3]], "attention_mask": [[1, 1, 1]]},
            ValueError,
            r"has shape \(1, 3\), input_ids has \(1, 2\)",
        ),
        ({"input_ids": [[2, 3]], "attention_mask": [[0, 0]]}, ValueError, "row 0 is all padding"),
        ({"input_ids": [[2, 3]], "attention_mask": [[1, 5]]}, ValueError, "other values than 0"),
        ({"input_ids": [[2, 3]], "token_type_ids": [[0, 9]]}, ValueError, "9"),
        ({"ids": [[2, 3]]}, ValueError, "has ids; expected input_ids"),
        ([[2, 3]], TypeError, "must be a dict with input_ids"),
    ],
)
def test_inputs_that_do_not_fit(
    tiny_bert: Path, inputs: Any, kind: type[Exception], message: str
) -> None:
    model = qeff.QEFFAutoModel.from_pretrained(tiny_bert)
    model.compile()
    with pytest.raises(kind, match=message):
        model.generate(inputs)


def test_sentences_that_are_none(tiny_bert: Path) -> None:
    model = qeff.QEFFAutoModel.from_pretrained(tiny_bert)
    model.compile()
    with pytest.raises(TypeError, match=r"sentences\[1\] is int, not a text"):
        model.encode(["a", 7])  # type: ignore[list-item]


def test_unknown_scheme_with_the_closest_match(model_dir: Path) -> None:
    refused(
        model_dir,
        qeff.InvalidArgument,
        r'scheme "gtpq" \(did you mean "gptq"\?\)',
        quantization="gtpq",
    )
    refused(
        model_dir, TypeError, "must be a scheme name, a config or None, not int", quantization=8
    )


def test_unknown_option_with_the_closest_match(model_dir: Path) -> None:
    refused(
        model_dir,
        TypeError,
        r"unknown option 'num_core' \(did you mean \"num_cores\"\?\)",
        num_core=2,
    )
    refused(model_dir, TypeError, "unknown option 'zzz'$", zzz=2)


def test_unknown_pooling(tiny_bert: Path) -> None:
    with pytest.raises(ValueError, match="unknown pooling 'median'; known: mean"):
        qeff.QEFFAutoModel.from_pretrained(tiny_bert, pooling="median")


def test_bad_core_counts(model_dir: Path) -> None:
    for cores in (-1, 1.5, True):
        refused(model_dir, ValueError, "num_cores must be a whole number", num_cores=cores)


# models and paths


def test_missing_config(model_dir: Path) -> None:
    (model_dir / "config.json").unlink()
    refused(model_dir, qeff.FormatError, r"has no config\.json")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": "bert", "hidden_size": -3}'])
def test_a_config_that_is_none(model_dir: Path, text: str) -> None:
    (model_dir / "config.json").write_text(text)
    refused(model_dir, ValueError, "config|JSON|hidden")


def test_unknown_models_list_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        qeff.IoError, match=r"the directory some/model: not there; .*[Hh]ub"
    ) as caught:
        qeff.QEFFAutoModel.from_pretrained("some/model")
    assert caught.value.filename == "some/model"
    with pytest.raises(OSError, match="no such model directory or artifact"):
        qeff.QEFFAutoModel.from_pretrained("/nonexistent/m.qeff")


def test_output_in_a_folder_that_does_not_exist(model_dir: Path) -> None:
    with pytest.raises(qeff.IoError, match="nonexistent") as caught:
        compile_to(model_dir, model_dir / "nonexistent" / "m.qeff")
    assert caught.value.errno == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_in_a_folder_without_permission(model_dir: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(qeff.IoError, match=r"[Pp]ermission"):
        compile_to(model_dir, locked / "m.qeff")


def test_output_that_is_a_directory_or_an_input(model_dir: Path) -> None:
    with pytest.raises(ValueError, match="is a directory; the output is a file"):
        compile_to(model_dir, model_dir)
    weights = model_dir / "model.safetensors"
    before = weights.read_bytes()
    with pytest.raises(ValueError, match="is a file of the model itself"):
        compile_to(model_dir, weights)
    link = model_dir.parent / "link.qeff"
    link.hardlink_to(weights)
    with pytest.raises(ValueError, match="is a file of the model itself"):
        compile_to(model_dir, link)
    assert weights.read_bytes() == before


def test_a_failed_compile_keeps_the_artifact_that_was_there(
    model_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m.qeff"
    compile_to(model_dir, out)
    before = out.read_bytes()
    set_weight(model_dir, "encoder.layer.1.output.dense.weight", 3, float("nan"))
    with pytest.raises(ValueError, match=r"layer\.1\.output\.dense\.weight"):
        compile_to(model_dir, out)
    assert out.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"m.qeff", "model"}
