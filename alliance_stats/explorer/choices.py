"""What was chosen on the page, as a rule and as text to copy."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.rule import Rule
from alliance_stats.rupture.rules.vocabulary import REPAIRS

LATENT = "latent"
NOT_SETTINGS = ("citation", "fidelity")


def chosen_rule(start: str, **choices: Any) -> Rule:
    """The rule `start`, a name in RULES, with the choices that differ from it; unchanged it keeps its name.

    An amount that the repair target does not take is left out. Raises ``ValueError``, in the words of Rule, if the
    choices do not go together.

    >>> chosen_rule("own_mean_2sd", size=2.0).name, chosen_rule("own_mean_2sd", size=1.5).name
    ('own_mean_2sd', 'own_mean_2sd, changed')
    """
    rule = RULES[start]
    if "repair" in choices and not REPAIRS[choices["repair"]].takes_amount:
        choices["repair_amount"] = None
    changed = {name: value for name, value in choices.items() if value != getattr(rule, name)}
    if not changed:
        return rule
    return replace(rule, name=f"{start}, changed", citation="", fidelity="", **changed)


def as_toml(rule: Rule, *, score: str) -> str:
    """The section ``[detect]`` of a study file.

    >>> print(as_toml(RULES["own_mean_2sd"], score="alliance"))
    [detect]
    score = "alliance"
    rule = "own_mean_2sd"
    """
    lines = ["[detect]", f"score = {json.dumps(score, ensure_ascii=False)}"]
    if RULES.get(rule.name) == rule:
        return "\n".join([*lines, f"rule = {json.dumps(rule.name)}"])
    settings = settings_of(rule)
    if None in settings.values():  # TOML has no word for None
        names = ", ".join(name for name, value in settings.items() if value is None)
        return f"# {names}: None cannot be written in a study file; copy the Python."
    fields = (f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items())
    return "\n".join([*lines, "", "[detect.rule]", *fields])


def as_python(rule: Rule, *, score: str) -> str:
    """The same, and the chance level, as Python.

    >>> print(as_python(RULES["own_mean_2sd"], score="alliance"))
    rule = "own_mean_2sd"
    events = als.detect_ruptures(sessions, score='alliance', rule=rule)
    chance = als.chance_level(sessions, score='alliance', rule=rule, draws=1000, seed=1)
    """
    named = RULES.get(rule.name) == rule
    fields = ", ".join(f"{name}={value!r}" for name, value in settings_of(rule).items())
    return "\n".join(
        [
            f"rule = {json.dumps(rule.name)}" if named else f"rule = als.Rule({fields})",
            f"events = als.detect_ruptures(sessions, score={score!r}, rule=rule)",
            f"chance = als.chance_level(sessions, score={score!r}, rule=rule, draws=1000, seed=1)",
        ]
    )


def latent_python(*, score: str) -> str:
    """The latent detector as Python."""
    return f"latent = als.detect_latent(sessions, score={score!r})\nevents = latent.events()"


def latent_toml() -> str:
    """What a study file can say of it."""
    return "[latent]  # settings of the latent model, which the report estimates for every study"


def settings_of(rule: Rule) -> dict[str, Any]:
    """The fields of a rule that differ from those of a plain ``Rule()``."""
    plain = asdict(Rule())
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(rule).items()
        if name not in NOT_SETTINGS and value != plain[name]
    }
