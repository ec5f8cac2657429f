"""Studies with known truth: patients in therapists, rated session by session down to the single item.

The model, in the order it is drawn (points are those of the mean item score on a 1-to-5 scale; for an instrument with
another range they are stretched with it):

1. *True alliance* = mean + therapist + patient + growth x (session - 1) + AR(1) state + rupture shift.
2. *Ruptures* begin at random from the third session on, fall by a depth drawn in within-patient SD, last a geometric
   number of sessions and end above the baseline, at it, part of the way up, or never.
3. *Items* are the true alliance plus the patient's subscale deviation, a halo and item error, rounded to the
   instrument's answers; the error is solved for so that the mean score has exactly the stated reliability.
4. *Symptoms* follow the patient's own line, disturbed by the alliance and rupture state of the session before.
5. *Endings*: a dropout hazard that knows the rupture state, transfer, still in treatment, completion.
6. *Observation*: missed sessions and missing forms, at random and more often during ruptures.
7. *Codes*, where asked for: what observers code, by stated agreement, and what patients and therapists report.

Every part draws from its own stream of random numbers, so that changing, say, the missing forms leaves the truth as
it was.
"""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
