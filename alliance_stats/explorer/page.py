"""The page itself, for a notebook and for a browser: controls on the left, pictures and answers on the right."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Coroutine, Mapping
from typing import Any

import pandas as pd

from alliance_stats.explorer.choices import (
    DRAWS,
    LATENT,
    Answers,
    as_python,
    as_toml,
    chosen_rule,
    latent_python,
    latent_toml,
)
from alliance_stats.explorer.drawing import patient_picture, study_picture
from alliance_stats.rupture.rules.members import RULES
from alliance_stats.rupture.rules.vocabulary import REFERENCES, REPAIRS, UNITS
from alliance_stats.tables.rendering import as_html
from alliance_stats.tables.schema import PATIENT, SESSION

NEEDED = 'The explorer needs Panel. Install it with: pip install "alliance_stats[explore]"'
FIRST_RULE = "running_mean_2pooled"
WAIT_CHANCE = "Counting what chance alone would give ..."
WAIT_LATENT = "Estimating the latent model; a large study takes half a minute ..."
ROOMY = "th, td {padding: 1px 8px}"
PICTURE = 680  # Pixels
COPY = "navigator.clipboard.writeText(text.value)"


def explore(sessions: pd.DataFrame, *, score: str, show_ids: bool = False, seed: int = 1) -> Any:
    """A page on which a rule is chosen and its ruptures are seen, for a notebook.

    Choose the detector, the rule, its reference, unit, size, repair target and window; see every patient's marks, one
    patient's course with the probability of an open rupture, the count against chance, and why one session is or is not
    an onset; copy the result as a section of a study file or as Python. In a browser: ``alliance-stats explore
    STUDY.toml``.

    Parameters
    ----------
    sessions : DataFrame
        SESSIONS with the column `score`.
    score : str
        The alliance score.
    show_ids : bool
        Show the patients' ids instead of pseudonyms.
    seed : int
        Of pseudonyms and draws.

    Returns
    -------
    panel.viewable.Viewable
        Shows itself as the last line of a cell.

    Raises
    ------
    ImportError
        If Panel is not installed.
    """
    panel = _panel()
    answers = Answers(sessions, score=score, show_ids=show_ids, seed=seed)
    if "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel"):
        panel.extension(inline=True)  # scripts from this machine; Panel asks for style sheets outside, and does without
    return _Page(panel, answers).layout


def serve(sessions: pd.DataFrame, *, score: str, port: int = 0, show: bool = True) -> None:
    """The page in a browser, on this machine only (127.0.0.1), until it is stopped with Ctrl-C; port 0: a free one.

    `sessions` are shown as they are: ids are not replaced here.
    """
    panel = _panel()
    answers = Answers(sessions, score=score, show_ids=True, seed=1)
    port = port or _free_port()
    print(f"The explorer is at http://127.0.0.1:{port}/ (Ctrl-C ends it).", flush=True)
    panel.serve(
        lambda: _Page(panel, answers).layout,
        address="127.0.0.1",
        port=port,
        websocket_origin=[f"127.0.0.1:{port}", f"localhost:{port}"],
        title="alliance_stats: ruptures and repairs",
        show=show,
        verbose=False,
    )


def _panel() -> Any:
    try:
        import panel
    except ImportError as error:
        raise ImportError(NEEDED) from error
    return panel


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


WINDOWS = {"any time": 0, **{f"{n} sessions": n for n in (1, 2, 3, 4, 5, 6, 8, 10)}}


class _Page:
    """Widgets, and what follows when one of them changes."""

    def __init__(self, panel: Any, answers: Answers) -> None:
        self.answers, self.rule, self.events = answers, RULES[FIRST_RULE], answers.events(RULES[FIRST_RULE])
        self.busy, self.task = False, None
        widgets, panes = panel.widgets, panel.pane
        self.detector = widgets.Select(name="Detector", options={"a rule": "rule", "the latent model": LATENT})
        self.start = widgets.Select(name="Rule", options=list(RULES), value=FIRST_RULE)
        self.choices = {
            "reference": widgets.Select(name="A fall from", options=_words(REFERENCES)),
            "size": widgets.FloatInput(name="by at least", start=0.05, step=0.25, value=2.0),
            "unit": widgets.Select(name="times", options=_words(UNITS)),
            "repair": widgets.Select(name="Repaired by a score", options=_words(REPAIRS)),
            "repair_amount": widgets.FloatInput(name="amount", start=0.05, step=0.05, value=0.5),
            "window": widgets.Select(name="within", options=WINDOWS),
        }
        self.patient, self.session = widgets.Select(name="Patient"), widgets.Select(name="Session")
        self.problem = panes.Alert(alert_type="warning", visible=False)
        self.count, self.why = panes.HTML(stylesheets=[ROOMY]), panes.HTML(stylesheets=[ROOMY])
        self.study, self.course = panes.PNG(width=PICTURE), panes.PNG(width=PICTURE)
        self.toml, self.python = (
            widgets.TextAreaInput(name=name, auto_grow=True, width=PICTURE) for name in ("For the study file", "Python")
        )
        copies = [widgets.Button(name=f"Copy {name}") for name in ("TOML", "Python")]
        for button, text in zip(copies, (self.toml, self.python), strict=True):
            button.js_on_click(args={"text": text}, code=COPY)
        controls = [self.detector, self.start, *self.choices.values(), self.patient, self.session]
        shown = [self.problem, self.count, self.study, self.course, self.why, self.toml, self.python]
        self.layout = panel.Row(panel.Column(*controls, width=320), panel.Column(*shown, panel.Row(*copies)))
        for widget, answer in ((self.start, self._take_rule), (self.patient, self._choose_session)):
            widget.param.watch(answer, "value")
        for widget in (self.detector, *self.choices.values()):
            widget.param.watch(self._changed, "value")
        self.session.param.watch(self._show_patient, "value")
        self._take_rule()

    def _take_rule(self, *_: Any) -> None:
        """Set the controls as the named rule has them."""
        rule = RULES[self.start.value]
        self.busy = True
        for name, widget in self.choices.items():
            if name != "repair_amount" or rule.repair_amount is not None:
                widget.value = getattr(rule, name) or 0
        self.busy = False
        self._changed()

    def _changed(self, *_: Any) -> None:
        """Detect and draw at once; what takes seconds comes afterwards, and only if it is still asked for."""
        if self.busy:
            return
        latent = self.detector.value == LATENT
        self.choices["repair_amount"].visible = REPAIRS[self.choices["repair"].value].takes_amount
        try:
            self.rule = chosen_rule(self.start.value, **{name: one.value or None for name, one in self.choices.items()})
            self.events = self.answers.events(self.rule)
        except (ValueError, TypeError) as error:  # choices that do not go together: the last answer stays
            self.problem.object, self.problem.visible = str(error), True
            return
        self.problem.visible = False
        score = self.answers.score
        self.toml.value = latent_toml() if latent else as_toml(self.rule, score=score)
        self.python.value = latent_python(score=score) if latent else as_python(self.rule, score=score)
        self._show()
        self.count.object = f"<p>{WAIT_LATENT if latent else WAIT_CHANCE}</p>"
        _soon(self._estimate() if latent else self._count_against_chance())

    async def _count_against_chance(self) -> None:
        asked = self.rule
        await asyncio.sleep(0)  # the pictures first
        chance = await asyncio.to_thread(self.answers.chance, asked)
        if asked == self.rule and self.detector.value != LATENT:
            columns = ["quantity", "observed", "expected", "chance_low", "chance_high", "at_least", "p_value"]
            title = f"Found, and expected by chance ({DRAWS} draws; the text to copy takes 1000)"
            self.count.object = as_html([title, chance.verdict_words], {"": chance.table[columns]}, chance.diagnostics)

    async def _estimate(self) -> None:
        latent = await asyncio.to_thread(lambda: self.answers.latent)
        events = await asyncio.to_thread(lambda: self.answers.latent_events)
        if self.detector.value == LATENT:
            self.events = events
            self.count.object = as_html(["The latent detector"], {}, latent.summary().splitlines())
        self._show()

    @property
    def _states(self) -> pd.DataFrame | None:
        """Probabilities, once the latent model has been estimated."""
        return self.answers.probabilities if "latent" in vars(self.answers) else None

    def _show(self) -> None:
        """The patients with their marks in the list, and both pictures."""
        marks = self.events.groupby(PATIENT, sort=False)["status"].agg(list)
        patients = pd.unique(self.answers.sessions[PATIENT])
        own = self.patient.value if self.patient.value is not None else next(iter(marks.index), patients[0])
        self.busy = True
        self.patient.options = {_in_words(one, marks.get(one, [])): one for one in patients}
        self.patient.value = own
        self.busy = False
        self._choose_session()

    def _choose_session(self, *_: Any) -> None:
        if self.busy:
            return
        table, own = self.answers.sessions, self.patient.value
        sessions = table.loc[table[PATIENT] == own, SESSION].tolist()
        onsets = self.events.loc[self.events[PATIENT] == own, "onset"].tolist()
        self.busy = True
        self.session.options = sessions
        self.session.value = onsets[0] if onsets else sessions[0]
        self.busy = False
        self.study.object = study_picture(table, self.events, self._states, score=self.answers.score, patient=own)
        self._show_patient()

    def _show_patient(self, *_: Any) -> None:
        if self.busy:
            return
        answers, patient, session = self.answers, self.patient.value, int(self.session.value)
        self.course.object = patient_picture(
            answers.sessions, self.events, self._states, score=answers.score, patient=patient, session=session
        )
        found = answers.explain(self.rule, patient, session)
        self.why.object = f"<p><strong>Why?</strong></p>{found._repr_html_()}"


def _words(kinds: Mapping[str, Any]) -> dict[str, str]:
    """Options of a list: the words of the vocabulary, each with its name."""
    return {entry.words.replace("{amount:g}", "…"): name for name, entry in kinds.items()}


def _in_words(patient: Any, statuses: list[str]) -> str:
    if not statuses:
        return f"{patient}: no rupture"
    return f"{patient}: {', '.join(f'{statuses.count(one)} {one}' for one in dict.fromkeys(statuses))}"


def _soon(task: Coroutine[Any, Any, None]) -> None:
    """Run `task` in the loop of the open page; where there is none (a script), now."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(task)
        return
    running = loop.create_task(task)
    _RUNNING.add(running)  # the loop itself keeps only weak references
    running.add_done_callback(_RUNNING.discard)


_RUNNING: set[asyncio.Task[None]] = set()
