"""From items to scores: by the instrument's own rule, with every decision on record.

Nothing is flipped, filled or clipped on suspicion. What looks wrong raises ``DataError`` (answers outside the declared
range) or is put as a question in ``attrs["notes"]`` and on the log (items that seem reversed already).
"""

from __future__ import annotations

from alliance_stats.score.scoring import score_items

__all__ = ["score_items"]
