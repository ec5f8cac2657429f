"""From markers and segments to sessions, and from several coders to one answer, by stated rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.instruments.codebook import CodeBook, as_code_book
from alliance_stats.tables.schema import PATIENT, SESSION, DataError, plain, refuse, require_choice, require_columns

WAYS = ("highest", "mean")
METHODS = ("mean", "majority", "adjudicated")
RATED_WORDS = ("type", "cause", "initiator")
MIXED = "mixed"


def slug(name: str) -> str:
    """A word of a code book as part of a column name.

    >>> slug("immediate direct")
    'immediate_direct'
    """
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def code_sessions(
    codes: pd.DataFrame,
    *,
    book: str | CodeBook | None = None,
    significance: str = "highest",
    resolution: str = "highest",
) -> pd.DataFrame:
    """What each coder says of each session: markers and segments counted, ratings taken together.

    Parameters
    ----------
    codes : DataFrame
        CODES (:func:`alliance_stats.load.read_codes`).
    book : str or CodeBook, optional
        The code book; default: ``codes.attrs["book"]``, else the 3RS.
    significance, resolution : {"highest", "mean"}
        How the ratings of several markers of a session become one.

    Returns
    -------
    DataFrame
        One row per ``patient``, ``session`` and ``coder``: ``rupture`` (0/1), ``n_markers``, ``n_<type>`` for each type
        (rows with it: the frequency), ``type`` (``mixed`` where there are several; missing without a rupture),
        ``significance`` and ``resolution`` (missing where not rated), ``cause`` and ``initiator`` (of the marker with
        the highest significance, the first of several), ``strategy_<group>`` (0/1) for each group of strategies, and
        ``strategies`` (those used, in the order coded, joined by ``"; "``). A session that a coder coded without
        finding a rupture has ``rupture`` 0; a session that nobody coded has no row.

    Raises
    ------
    DataError
        If a needed column is missing, or a type or strategy is not in the code book.

    Examples
    --------
    >>> codes = pd.DataFrame({"patient": 1, "session": [4, 4, 5], "coder": "A",
    ...                       "type": ["withdrawal", "confrontation", None], "significance": [2.0, 4, np.nan]})
    >>> code_sessions(codes)[["session", "rupture", "n_markers", "type", "significance"]]
       session  rupture  n_markers   type  significance
    0        4        1          2  mixed           4.0
    1        5        0          0    NaN           NaN
    """
    require_choice(significance, WAYS, name="significance")
    require_choice(resolution, WAYS, name="resolution")
    require_columns(codes, [PATIENT, SESSION, "coder", "type"], table_name="codes")
    key = as_code_book(codes.attrs.get("book", "3RS") if book is None else book)
    by = [PATIENT, SESSION, "coder"]
    table = codes.reset_index(drop=True)
    _require_in_book(table, "type", key.types, key)
    grouped = table.groupby(by, sort=True)
    kinds = [str(kind) for kind in key.types]
    counts = {kind: (table["type"] == kind).groupby([table[name] for name in by]).sum() for kind in kinds}
    result = pd.DataFrame({f"n_{slug(kind)}": count for kind, count in counts.items()})
    total = result.sum(axis=1)
    several = (result > 0).sum(axis=1) > 1
    first = result.gt(0).idxmax(axis=1).map({f"n_{slug(kind)}": kind for kind in kinds})
    result.insert(0, "rupture", (total > 0).astype(np.int64))
    result.insert(1, "n_markers", total)
    result["type"] = first.where(total > 0).mask(several, MIXED)
    for name, how in (("significance", significance), ("resolution", resolution)):
        if name in table:
            result[name] = grouped[name].max() if how == "highest" else grouped[name].mean()
    leading = table.loc[table["type"].notna()]
    if "significance" in table:
        leading = leading.sort_values("significance", ascending=False, kind="stable")
    for name in ("cause", "initiator"):
        if name in table:
            result[name] = leading.groupby(by)[name].first()
    if "strategy" in table:
        _add_strategies(result, table, key, by)
    rated = result.reset_index()
    rated.attrs = {"book": key.name}
    return rated


def _add_strategies(result: pd.DataFrame, table: pd.DataFrame, book: CodeBook, by: list[str]) -> None:
    _require_in_book(table, "strategy", book.strategies, book)
    used = table.loc[table["strategy"].notna()]
    group = used["strategy"].map(book.strategies)
    for name in dict.fromkeys(book.strategies.values()):
        found = (group == name).groupby([used[column] for column in by]).any()
        result[f"strategy_{slug(name)}"] = found.reindex(result.index, fill_value=False).astype(np.int64)
    joined = used.groupby(by)["strategy"].agg(lambda names: "; ".join(dict.fromkeys(names)))
    result["strategies"] = joined.reindex(result.index, fill_value="")


def _require_in_book(table: pd.DataFrame, name: str, known: Iterable[str], book: CodeBook) -> None:
    unknown = table[name].notna() & ~table[name].isin(list(known))
    if unknown.any():
        problem = f"{table.loc[unknown, name].iloc[0]!r} is no {name} of the code book {book.name}."
        refuse(table, unknown, problem, remedy="Name the code book with book=.", row=False)


def consensus(rated: pd.DataFrame, *, method: str = "majority", adjudicator: Any = None) -> pd.DataFrame:
    """One row per coded session from the rows of several coders.

    Parameters
    ----------
    rated : DataFrame
        From :func:`code_sessions`.
    method : {"majority", "mean", "adjudicated"}
        ``majority``: a rupture, a type or a strategy is there if more than half of the session's coders say so (types
        and causes among the coders with a rupture, the commonest; two equally common types are ``mixed``); numbers are
        the mean over the coders with a rupture, counts that over all. A session in which exactly half say so has no
        rupture. ``mean``: as that, but a rupture is there from one half on. ``adjudicated``: the `adjudicator` decides;
        sessions without that coder must have coders who agree on whether there is a rupture.
    adjudicator : optional
        The coder who decides.

    Returns
    -------
    DataFrame
        As `rated`, without ``coder``, with ``n_coders`` and ``share`` (of coders who saw a rupture). ``strategies``
        has every strategy that any of these coders named.

    Raises
    ------
    DataError
        If a session without adjudication has coders who disagree.

    Examples
    --------
    >>> rated = pd.DataFrame({"patient": 1, "session": [2, 2, 2], "coder": list("ABC"), "rupture": [1, 1, 0],
    ...                       "type": ["withdrawal", "withdrawal", None], "significance": [2.0, 4.0, np.nan]})
    >>> consensus(rated)[["rupture", "type", "significance", "n_coders", "share"]].round(2)
       rupture        type  significance  n_coders  share
    0        1  withdrawal           3.0         3   0.67
    """
    require_choice(method, METHODS, name="method")
    require_columns(rated, [PATIENT, SESSION, "coder", "rupture"], table_name="rated")
    if rated.duplicated([PATIENT, SESSION, "coder"]).any():
        raise DataError("A coder has two rows for one session.", remedy="Make them one with code_sessions.")
    by = [PATIENT, SESSION]
    table = _adjudicated(rated, adjudicator) if method == "adjudicated" else rated
    grouped = table.groupby(by, sort=True)
    share = grouped["rupture"].mean()
    is_there = share >= 0.5 if method == "mean" else share > 0.5
    result = pd.DataFrame({"rupture": is_there.astype(np.int64)})
    found = table.loc[table["rupture"] == 1].groupby(by)
    for name in table.columns.difference([*by, "coder", "rupture"], sort=False):
        if name in RATED_WORDS:
            words = found[name].first().astype(object)
            split = found[name].transform("nunique") > 1
            words.update(table.loc[split[split].index].groupby(by)[name].agg(_commonest))
            result[name] = words.reindex(result.index).where(is_there)
        elif name == "strategies":
            named = table.loc[table[name] != ""].groupby(by)[name].agg(_joined)
            result[name] = named.reindex(result.index, fill_value="")
        elif name.startswith("strategy_"):
            result[name] = (grouped[name].mean() > 0.5).astype(np.int64)
        elif name.startswith("n_"):
            result[name] = grouped[name].mean()
        elif name == "significance":
            result[name] = found[name].mean().reindex(result.index).where(is_there)
        elif pd.api.types.is_numeric_dtype(table[name]):
            result[name] = grouped[name].mean()
    result["n_coders"] = rated.groupby(by)["coder"].nunique().reindex(result.index)
    result["share"] = rated.groupby(by)["rupture"].mean().reindex(result.index)
    one = result.reset_index()
    one.attrs = {**rated.attrs, "consensus": method}
    return one


def _adjudicated(rated: pd.DataFrame, adjudicator: Any) -> pd.DataFrame:
    decided = rated["coder"] == adjudicator
    if not decided.any():
        raise DataError(f"There is no coder {adjudicator!r}.", remedy="Name the coder who decides with adjudicator=.")
    key = pd.MultiIndex.from_frame(rated[[PATIENT, SESSION]])
    others = rated.loc[~key.isin(key[decided])]
    differ = others.groupby([PATIENT, SESSION])["rupture"].agg(np.ptp) > 0
    if differ.any():
        patient, session = differ.index[differ][0]
        raise DataError(
            f"Coders disagree in {int(differ.sum())} session(s) that {adjudicator!r} did not decide.",
            remedy="Let them be decided, or use method='majority'.",
            patient=patient,
            session=plain(session),
        )
    both: pd.DataFrame = pd.concat([rated.loc[decided], others])
    return both


def _joined(texts: pd.Series) -> str:
    """Every strategy once, in the order of the coders."""
    return "; ".join(dict.fromkeys(filter(None, "; ".join(texts).split("; "))))


def _commonest(words: pd.Series) -> Any:
    """The commonest word; of two equally common types ``mixed``, of other words the first."""
    counts = words.dropna().value_counts(sort=True)
    if counts.empty:
        return np.nan
    tied = counts.index[counts == counts.iloc[0]]
    if len(tied) > 1 and words.name == "type":
        return MIXED
    return next(word for word in words.dropna() if word in tied)
