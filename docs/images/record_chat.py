"""Records docs/images/chat.svg: a real conversation in a terminal of tmux, as it stands on the screen.

python docs/images/record_chat.py MODEL.qeff "first line" "second line" ...
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

_COLUMNS, _ROWS = 96, 34
_SESSION = "qeff-record-chat"
_PATIENCE_S = 120.0


def tmux(*arguments: str) -> str:
    """Output of a tmux command."""
    return subprocess.run(["tmux", *arguments], capture_output=True, text=True, check=True).stdout


def screen() -> list[str]:
    """The lines of the terminal, with their colours, without empty ones at the end."""
    text = tmux("capture-pane", "-p", "-e", "-t", _SESSION)
    return text.rstrip("\n").split("\n")


def wait_for_prompt(count: int) -> None:
    """Until there are ``count`` prompts, the last one waiting for a line."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        lines = screen()
        if sum(line.startswith(">") for line in lines) >= count and lines[-1].strip() == ">":
            return
        time.sleep(0.2)
    raise TimeoutError("\n".join(screen()))


def record(model: Path, lines: Sequence[str]) -> list[str]:
    """What stands on the screen after the conversation."""
    command = f"{sys.executable} -m qeff chat {model.name} --max-new-tokens 96 --seed 7"
    size = ["-x", str(_COLUMNS), "-y", str(_ROWS)]
    tmux("new-session", "-d", "-s", _SESSION, "-c", str(model.resolve().parent), *size, command)
    try:
        for number, line in enumerate(lines, 1):
            wait_for_prompt(number)
            tmux("send-keys", "-t", _SESSION, "-l", line)
            tmux("send-keys", "-t", _SESSION, "Enter")
        wait_for_prompt(len(lines) + 1)
        return screen()
    finally:
        tmux("kill-session", "-t", _SESSION)


def main() -> int:
    """Records, and writes the picture beside this file."""
    model, *lines = sys.argv[1:]
    console = Console(record=True, width=_COLUMNS, file=io.StringIO())
    console.print(Text("$ qeff chat " + Path(model).name, style="bold"))
    for line in record(Path(model), lines):
        console.print(Text.from_ansi(line))
    out = Path(__file__).with_name("chat.svg")
    svg = console.export_svg(title="qeff chat", unique_id="chat")
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # a font of the reader's
    svg = re.sub(r"\s*<!--.*?-->", "", svg, flags=re.DOTALL)
    out.write_text(svg, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
