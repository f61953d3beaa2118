"""Bridges to other frameworks; each imports its framework, and nobody imports them implicitly."""
