"""What this machine can do."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, TypedDict

from . import _core
from ._core import InvalidArgument
from .atomic_text import write_text

_log = logging.getLogger("qeff")
_said: set[int] = set()


class CpuInfo(TypedDict):
    """Facts about the CPU; see :func:`cpu_info`."""

    model: str
    isa: list[str]
    active: str
    cores: int


def cpu_info() -> CpuInfo:
    """The CPU as qeff sees it.

    Returns:
        ``model`` (marketing name), ``isa`` (instruction sets qeff can use here, weakest first),
        ``active`` (the one in use, not above ``QEFF_MAX_ISA``), ``cores`` (threads this process
        may use; ``QEFF_NUM_THREADS``, affinity and cgroup limits respected).

    Raises:
        ValueError: ``QEFF_MAX_ISA`` names no instruction set.
    """
    return {
        "model": _core.cpu_model(),
        "isa": _core.supported_isas(),
        "active": _core.active_isa(),
        "cores": _core.default_threads(),
    }


def roof(num_cores: int | None = None) -> dict[str, Any]:
    """What this machine multiplies and reads at best, measured once in a process (one or two seconds).

    Args:
        num_cores: threads; None or 0: all.

    Returns:
        ``isa``, ``threads``, ``caches`` (bytes of ``l1``, ``l2``, ``l3``), ``gops`` (1e9 operations a
        second of ``int8``, ``u4`` (int8 by 4-bit codes), ``i16`` (16 bits by 4-bit codes), ``bf16``, ``f32`` products, each from
        ``registers`` and by the matmuls' register tile ``fed_l1``, ``fed_l2`` from those caches) and
        ``gb_per_s`` (reading from ``l1``, ``l2``, ``l3``, ``memory``). Each figure is a dict of ``one``
        thread and ``all`` threads; what the CPU lacks is left out.
    """
    return _core.measure_roof(None, thread_count(num_cores))


def tuning() -> dict[str, int]:
    """The numbers that decide which kernel multiplies and how work is cut; results never depend on them.

    Defaults, over them the file that :func:`tune` wrote for this CPU, over both ``QEFF_TUNING``
    (``"part_work=2000000,byte_rows=8"``).

    Raises:
        ValueError: the file or ``QEFF_TUNING`` is malformed.
    """
    return _values(_core.tuning())


def tune(num_cores: int | None = None, seconds: float = 10) -> tuple[dict[str, int], Path]:
    """Measures them, with nothing else running, and keeps them for every later process on this CPU.

    Args:
        num_cores: threads; None or 0: all.
        seconds: about how long to measure.

    Returns:
        The values found and the file they were written to.
    """
    found = _core.measure_tuning(seconds, thread_count(num_cores))
    path = Path(_core.tuning_file())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, found)
    return _values(found), path


def _values(text: str) -> dict[str, int]:
    pairs = (line.split("=") for line in text.splitlines())
    return {name: int(value) for name, value in pairs}


def thread_count(num_cores: int | None) -> int:
    """Threads to use when ``num_cores`` are asked for (None or 0: all).

    More than there are is no error: all of them are used, and that is said once.
    """
    available = _core.default_threads()
    if num_cores is None or num_cores == 0:
        return available
    if isinstance(num_cores, bool) or not isinstance(num_cores, int) or num_cores < 0:
        raise InvalidArgument(f"num_cores must be a whole number of at least 1, not {num_cores!r}")
    if num_cores > available:
        if num_cores not in _said:
            _said.add(num_cores)
            _log.warning(
                "qeff: num_cores=%d, but this process may use %d: using all of them",
                num_cores,
                available,
            )
        return available
    return num_cores
