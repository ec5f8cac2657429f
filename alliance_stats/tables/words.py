"""The terms of models in words, for figures and the report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_TERMS = {
    "Intercept": "intercept",
    "(Intercept)": "intercept",
    "session": "session number",
    "sessions_since_first": "sessions since the first",
    "n_rated": "number of rated sessions",
    "rupture_open": "open rupture",
    "repaired_before": "earlier repair",
    "rupture_open_between": "share of sessions with an open rupture",
    "repaired_before_between": "share of sessions after a repair",
    "repaired_to_baseline": "earlier repair to the baseline",
    "unrepaired": "rupture that stayed unrepaired",
    "n_ruptures_so_far": "number of ruptures so far",
    "n_repaired_so_far": "number of repairs so far",
    "sessions_since_onset": "sessions since the onset",
    "missed_last": "last session missed",
}
_NAMES = re.compile(rf"\b(?:{'|'.join(name for name in _TERMS if '_' in name)})\b(?!')")
_ENDINGS = (
    (re.compile(r"pattern_(\w+)"), "pattern {}"),
    (re.compile(r"(\w+)_within"), "{}, within patients"),
    (re.compile(r"(\w+)_between"), "{}, between patients"),
    (re.compile(r"(\w+)_first"), "first {}"),
    (re.compile(r"(\w+)_lag1"), "{} one session before"),
    (re.compile(r"(\w+)_lag(\d+)"), "{} {} sessions before"),
    (re.compile(r"(?:C\()?([^\W\d]\w*)\)?\[(?:T\.)?(.+)\]"), "{}: {}"),
)
"""Names that features and formulas make of a column's name."""


def term_in_words(term: str, words: Mapping[str, str] | None = None) -> str:
    """A term of a model in words, those of `words` first; what is not known stays as it is.

    >>> term_in_words("sessions_since_first:pattern_repaired"), term_in_words("C(arm)[T.B]")
    ('sessions since the first × pattern repaired', 'arm: B')
    >>> term_in_words("alliance_within"), term_in_words("phq9:session", {"phq9": "symptoms"})
    ('alliance, within patients', 'symptoms × session number')
    >>> term_in_words("repaired - none")
    'repaired - none'
    """
    known = {**_TERMS, **(words or {})}
    if term in known:
        return known[term]
    if re.fullmatch(r"[^\s:]+(:[^\s:]+)+", term):
        return " × ".join(term_in_words(part, words) for part in term.split(":"))
    for pattern, told in _ENDINGS:
        found = pattern.fullmatch(term)
        if found:
            return told.format(*(known.get(part, part) for part in found.groups()))
    return term


def names_in_words(text: str) -> str:
    """A sentence with the package's own column names in words.

    >>> names_in_words("Only 3 events with rupture_open.")
    'Only 3 events with open rupture.'
    """
    return _NAMES.sub(lambda found: _TERMS[found[0]], text)


def at_the_edge(boundary: Iterable[str]) -> str:
    """What the ``boundary`` of a mixed model's diagnostics means.

    >>> at_the_edge(["covariance of (Intercept | therapist) is singular"])
    'The variance between therapists is estimated as zero.'
    """
    said = []
    for text in boundary:
        block = re.fullmatch(r"covariance of \((.+) \| (\w+)\) is singular", text)
        if block is None:
            said.append(f"On the boundary: {text}.")
        elif " + " in block[1]:
            said.append(
                f"Of the random effects of {block[2]}s, a variance is estimated as zero or a correlation as 1 or −1."
            )
        elif block[1] in ("Intercept", "(Intercept)"):
            said.append(f"The variance between {block[2]}s is estimated as zero.")
        else:
            said.append(f"The variance of {term_in_words(block[1])} between {block[2]}s is estimated as zero.")
    return " ".join(said)
