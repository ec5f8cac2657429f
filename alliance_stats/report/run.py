"""What one run of a study holds: its tables, figures and remarks, and the page's sections, as the parts add them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from alliance_stats.figures.style import WIDTH, save_figure, styled
from alliance_stats.outcome.reciprocal_fit import DynamicsFit
from alliance_stats.report.folder import as_csv, masked, names_of, seed_of, shows_ids
from alliance_stats.report.models import MODELS, AnyFit, doubts, facts, models_table
from alliance_stats.report.numbers import Format, number, p_clause, p_value, printed
from alliance_stats.report.page import Labels, Section
from alliance_stats.report.steps import implied_error
from alliance_stats.report.study import StudyFile
from alliance_stats.rupture.latent.result import LatentRuptures
from alliance_stats.tables.attenuation import beside
from alliance_stats.tables.schema import PATIENT, THERAPIST, DataError
from alliance_stats.tables.terms import glance, tidy, variances

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Citers = Mapping[str, Callable[..., str]]  # Of a kept table: functions that print the number of a row, by column


@dataclass
class Run:
    """A run of a study, filled part by part."""

    study: StudyFile
    folder: Path
    sessions: pd.DataFrame  # with all scores
    events: pd.DataFrame  # by the rule of [detect]
    endings: pd.DataFrame | None = None
    patients: pd.DataFrame = field(default_factory=pd.DataFrame)
    latent: LatentRuptures | None = None  # where the scores allow an estimate
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)  # as written, ids replaced
    sections: list[Section] = field(default_factory=list)
    facts_by_part: dict[str, list[str]] = field(default_factory=dict)  # the methods text, a paragraph for each part
    headline: list[str] = field(default_factory=list)  # what to say first, on the command line too
    notes: list[str] = field(default_factory=list)  # what the reader must know
    cited: list[dict[str, str]] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)  # the rows of the table ``models``
    n_undone: int = 0  # parts that the study file asks for and that could not be done
    n_figures: int = 0
    _names: dict[str, Mapping[Any, str]] = field(default_factory=dict)

    @property
    def score(self) -> str:
        """The alliance score that ruptures are detected on."""
        return str(self.study.section("detect")["score"])

    @property
    def trusted(self) -> LatentRuptures | None:
        """The probabilities of ruptures, where the detector vouches for them."""
        return self.latent if self.latent is not None and self.latent.supported else None

    @cached_property
    def error(self) -> float | None:
        """The error variance of the alliance score that its items imply, as the table ``measurement_error`` says."""
        found = implied_error(self.study, self.sessions, self.score)
        if found is not None:
            self.keep("measurement_error", pd.DataFrame({"score": [self.score], "variance": [found]}))
        return found

    def say_error(self) -> str:
        """How the measurement error of the alliance was allowed for."""
        if self.error is None:
            return (
                f" {self.score} was taken as measured without error, which makes its effects too small: its items "
                "are not known here."
            )
        variance = self.citer("measurement_error", "variance")(self.score, number)
        return (
            f" The measurement error of {self.score} was allowed for (variance {variance}, as the agreement of its "
            "items implies; error that all items of a session share is not in it, and where there is such error "
            "effects come out too near 0, by a fifth in simulated studies in which half of it was shared)."
        )

    @property
    def seed(self) -> int:
        """The study's seed."""
        return seed_of(self.study)

    @property
    def show_ids(self) -> bool:
        """Whether the study file asks for the real ids in what is written."""
        return shows_ids(self.study)

    def state(self, *sentences: str) -> str:
        """Add sentences to the methods text, in the paragraph of the present section; returns them as one text."""
        self.facts_by_part.setdefault(self.sections[-1].anchor, []).extend(sentences)
        return " ".join(sentences)

    def section(self, anchor: str, heading: str) -> Section:
        """A new section at the end of the page."""
        self.sections.append(Section(anchor, heading))
        return self.sections[-1]

    def names(self, column: str) -> Mapping[Any, str]:
        """What each patient or therapist is called in the outputs: a pseudonym, or the id where the study says so."""
        if column not in self._names:
            self._names[column] = names_of(self.study, self.sessions, column)
        return self._names[column]

    def masked(self, table: pd.DataFrame) -> pd.DataFrame:
        """`table` with patients and therapists called by their names in the outputs."""
        names = {column: self.names(column) for column in (PATIENT, THERAPIST) if column in self.sessions}
        return masked(table, names, ids_shown=self.show_ids)

    def keep(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """Write a result table as CSV and remember it."""
        path = self.folder / "tables" / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        self.tables[name] = self.masked(table)
        path.write_text(as_csv(self.tables[name]), encoding="utf-8", newline="\n")
        return table

    def keep_model(self, name: str, fit: AnyFit | DynamicsFit) -> None:
        """Keep a fitted model's tables, and its line in the table ``models``; one that did not converge is noted."""
        self.keep(f"{name}_terms", beside(tidy(fit), fit.diagnostics.get("attenuation")))
        self.keep(f"{name}_glance", glance(fit))
        self.keep(f"{name}_variances", variances(fit))
        self.models.append(facts(name, fit))
        self.keep("models", models_table(self.models))
        what = MODELS[name][:1].upper() + MODELS[name][1:]
        told = doubts(fit, self.models[-1])
        self.notes += [f"{what}: {one}" for one in told if not any(note.endswith(one) for note in self.notes)]

    def citer(self, table: str, column: str) -> Callable[..., str]:
        """A function that prints the number in `column` of a kept table, in the row that its first column names.

        Each number is remembered with where it came from; ``tables/cited_numbers.csv`` lists them all.
        """
        kept = self.tables[table]
        keys = kept.iloc[:, 0].astype(str).tolist()

        def cite(row: str, form: Format | None = None) -> str:
            at = keys.index(row)
            text = printed(kept.iloc[[at]], column, {} if form is None else {column: form})[0]
            self.cited.append({"text": text, "table": table, "row": row, "column": column})
            return text

        return cite

    def citers(self, table: str) -> Citers:
        """A :meth:`citer` for each column of a kept table but the first, which names the rows."""
        return {str(column): self.citer(table, str(column)) for column in self.tables[table].columns[1:]}

    def show_table(
        self,
        section: Section,
        name: str,
        caption: str,
        *,
        labels: Labels,
        formats: Mapping[str, Format] | None = None,
        words: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Put a kept table on the page; `words` replaces values of a column by words for them."""
        table = self.tables[name]
        table = table.assign(**{column: table[column].replace(dict(own)) for column, own in (words or {}).items()})
        section.table(table, caption, labels=labels, formats=formats, file=f"tables/{name}.csv")

    def show_figure(self, section: Section, name: str, axes: Axes, caption: str, *, alt: str = "") -> None:
        """Write a figure as PNG and SVG and put it on the page; what it shows is said by `alt`, or by the caption."""
        written = save_figure(axes, self.folder / "figures" / name)
        section.figure(written[1].read_bytes(), caption, alt=alt or caption, file=f"figures/{name}")
        self.n_figures += 1

    @contextmanager
    def listening(self, what: str) -> Iterator[None]:
        """Turn the warnings of a step into notes."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        self.notes += list(dict.fromkeys(f"{what}: {' '.join(str(one.message).split())}" for one in caught))

    @contextmanager
    def attempt(self, what: str, *, asked: bool = True) -> Iterator[None]:
        """Do an optional part; where the data do not allow it, say so in the notes and go on.

        `asked` says whether the study file asks for it: only then does it count as undone.
        """
        try:
            yield
        except (ValueError, TypeError, ArithmeticError, np.linalg.LinAlgError) as error:
            self.n_undone += asked
            self.notes.append(f"{what} could not be done: {self.reason(error)}")

    def reason(self, error: Exception) -> str:
        """What an error says, without the ids of its place unless the study shows ids."""
        if isinstance(error, DataError) and not self.show_ids:
            return f"{error.problem} {error.remedy}"
        return " ".join(str(error).split())


def interval(cite: Citers, row: str, form: Format | None = None, *, ends: str = "ci") -> str:
    """The interval of a row: ``95% CI [0.1, 0.9]``."""
    return f"95% CI [{cite[f'{ends}_low'](row, form)}, {cite[f'{ends}_high'](row, form)}]"


def tested(cite: Citers, row: str) -> str:
    """The interval and p value of a row: ``95% CI [0.1, 0.9], p = .012``."""
    return f"{interval(cite, row)}, {p_clause(cite['p_value'](row, p_value))}"


def blank_axes(height: float, *, width: float = WIDTH) -> Axes:
    """Axes of a new figure that no window shows."""
    return blank_grid(1, 1, height, width=width)[0]


def blank_grid(rows: int, columns: int, height: float, *, width: float = WIDTH) -> list[Axes]:
    """Axes of a new figure in rows and columns, as one list."""
    from matplotlib.figure import Figure

    with styled():
        return list(Figure(figsize=(width, height)).subplots(rows, columns, squeeze=False).ravel())
