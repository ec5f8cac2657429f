"""Scoring keys of the field's questionnaires, as data: one TOML file each under ``keys/``."""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
