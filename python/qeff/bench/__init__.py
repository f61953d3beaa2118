"""Timing of qeff, alone or side by side with other libraries.

``rounds`` takes turns and medians, ``contenders`` are those who take turns (in this process or in workers
of their own), ``worker`` is the other end of such a process, ``matmul`` and ``model`` say what is timed,
``machine`` where, ``report`` turns the document into Markdown and plots, ``peers`` finds the definitions of
the other libraries in ``benchmarks/peers``.
"""
