"""Finds the other libraries' side, which is in ``benchmarks/peers`` of a checkout and not in the wheel."""

from __future__ import annotations

import errno
from pathlib import Path

from .._core import IoError
from .contenders import Contender
from .worker import load_function

__all__ = ["folder_of_peers", "peers_of"]


def folder_of_peers() -> Path:
    """``benchmarks/peers`` of the checkout this package belongs to, or of the working directory.

    Raises:
        OSError: neither has it.
    """
    for root in (Path(__file__).resolve().parents[3], Path.cwd()):
        folder = root / "benchmarks" / "peers"
        if (folder / "matmul.py").is_file():
            return folder
    raise IoError(
        errno.ENOENT,
        "--peers needs a checkout of qeff: the definitions of the other libraries are in its folder "
        "benchmarks/peers, not in the package. Run it from the top of a checkout",
        "benchmarks/peers",
    )


def peers_of(program: str) -> list[Contender]:
    """The other libraries' contenders: what ``contenders()`` of ``<program>.py`` lists."""
    contenders = load_function(str(folder_of_peers() / f"{program}.py"), "contenders")
    return list(contenders())
