"""The door that every formula passes before anything of it is evaluated.

A formula may come from a study file, which is data: nothing in it can run code. formulaic evaluates whatever is
inside ``I( )``, ``{ }`` or a call as Python, so every such expression is parsed first, and each node of it must be on
a list (:mod:`~alliance_stats.tables.expressions`).
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from alliance_stats.tables.expressions import CODINGS, NUMBERS, TERMS, check_expression, names_in
from alliance_stats.tables.schema import DataError, numeric

_LONGEST, _DEEPEST = 5000, 50
_NUMBER = re.compile(r"\s*[-+]?(\d+([.,]\d*)?|[.,]\d+)\s*")
_MOST_CODES = 10  # Text that looks like whole numbers is taken as codes of a factor up to this number of levels


@lru_cache(maxsize=256)
def one_sided(side: str) -> Any:
    """A one-sided formula read by formulaic and found harmless, terms in the order written (lower orders first).

    ``^`` is a power, as in R (in Python it is a bitwise operation that integers would pass through without a word).

    >>> [str(term) for term in one_sided("session + I(session^2)")]
    ['1', 'session', 'I(session ** 2)']
    >>> one_sided("open('/etc/passwd')")
    Traceback (most recent call last):
        ...
    alliance_stats.tables.schema.DataError: The formula "open('/etc/passwd')" calls 'open', which is not one ...
    """
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    depth = deepest = 0
    for character in side:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if len(side) > _LONGEST or deepest > _DEEPEST:
        raise DataError("The formula is too long, or nested too deeply.", remedy="Compute such columns before fitting.")
    if re.search(r"(^|[\s+*:(-])\.($|[\s+*:)-])", side):
        raise DataError(
            f"The formula {side!r} holds '.', which in R means all other columns.", remedy="Name the columns."
        )
    try:
        formula = Formula(_r_powers(side))
        terms = list(formula)
        factors = [factor for term in terms for factor in term.factors]
    except (FormulaicError, SyntaxError, AttributeError, TypeError, ValueError) as error:
        message = plain_text(str(error)) if isinstance(error, FormulaicError) else "it is not a one-sided formula."
        remedy = "Write terms joined by +, such as 'session * arm'."
        if "~" in side:
            remedy = f"Leave out '~' and what is before it: {side.split('~')[-1].strip()!r}."
        raise DataError(f"{side!r} cannot be read as a formula: {message}", remedy=remedy) from error
    for factor in factors:
        if factor.eval_method.value == "python":
            check_expression(side, str(factor.expr))
    return formula


def _r_powers(side: str) -> str:
    """``^`` written as ``**``, outside backticks and text."""
    parts = re.split(r"""(`[^`]*`|'[^']*'|"[^"]*")""", side)
    return "".join(part if k % 2 else part.replace("^", "**") for k, part in enumerate(parts))


def plain_text(message: str) -> str:
    """A message of formulaic without its colour codes and line breaks."""
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m|[⧛⧚]", "", message)).strip()


@lru_cache(maxsize=256)
def variables_of(side: str) -> tuple[str, ...]:
    """The data columns a one-sided formula needs.

    >>> variables_of("1 + poly(session, 2) * C(arm) + np.log(`time to start`)")
    ('arm', 'session', 'time to start')
    """
    found: set[str] = set()
    for term in one_sided(side):
        for factor in term.factors:
            kind = factor.eval_method.value
            if kind == "lookup":
                found.add(str(factor.expr))
            elif kind == "python":
                found |= names_in(str(factor.expr))
    return tuple(sorted(found))


def model_matrix(formula: Any, data: pd.DataFrame, *, columns: tuple[str, ...], output: str = "pandas") -> Any:
    """The columns of a formula (or of the ``model_spec`` of an earlier one) over the rows of `data`, with none missing.

    Raises ``DataError`` for a value that the formula cannot take, and for a level that an earlier fit has not seen.
    """
    from formulaic.errors import DataMismatchWarning, FormulaicError

    table = plain_types(data, columns)
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # what is not finite is refused by whoever takes it
        warnings.simplefilter("error", DataMismatchWarning)  # a level never seen: an answer, not a warning
        try:
            matrix = formula.get_model_matrix(table, na_action="ignore", output=output, context=functions())
        except DataMismatchWarning as error:
            levels = re.sub(r"np\.\w+\(([^()]*)\)", r"\1", str(error).split("{")[-1].split("}")[0])
            problem = f"A factor holds levels that are not among those of the fit, or of levels=: {levels}."
            raise DataError(problem, remedy="Use the levels of the fit only.") from error
        except (FormulaicError, ValueError, TypeError, ArithmeticError, LookupError) as error:
            problem = f"The formula could not be evaluated: {plain_text(str(error))}"
            raise DataError(problem, remedy="Check the names and transforms.") from error
    if len(matrix) != len(data):
        raise DataError(
            "A transform in the formula changed the number of rows.", remedy="Use transforms that keep rows."
        )
    return matrix


def functions() -> dict[str, Any]:
    """What a formula's expressions may call, by name."""
    from formulaic.transforms import TRANSFORMS

    allowed = {name: TRANSFORMS[name] for name in (*TERMS, *CODINGS, "contr")}
    return {**allowed, "np": np, **{name: getattr(np, name) for name in NUMBERS}, "C": _factor}


def plain_types(data: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """The needed columns in types formulaic knows: numbers as float64, truth values, text and categories as objects.

    Integers become float64 before any arithmetic: their powers would overflow, and bitwise operations are not meant.
    """
    replaced: dict[str, Any] = {}
    for name in columns:
        column = data[name]
        dtype = column.dtype
        if isinstance(dtype, pd.CategoricalDtype):
            replaced[name] = column.cat.remove_unused_categories()
        elif pd.api.types.is_bool_dtype(dtype):
            replaced[name] = column.astype(object)
        elif pd.api.types.is_numeric_dtype(dtype) or _holds_numbers(column):
            replaced[name] = numeric(data, name)
        elif holds_dates(column):
            raise DataError(
                f"The column {name!r} holds dates, which cannot enter a model.",
                column=name,
                remedy="Compute a number first, such as the days since the first session.",
            )
        else:
            _refuse_numbers_as_text(data, name)
            replaced[name] = column.astype(object)
    return data[list(columns)].assign(**replaced)


def _factor(data: Any, contrasts: Any = None, *, levels: Any = None, spans_intercept: bool = True) -> Any:
    """Formulaic's ``C``; whole numbers are levels without decimals, so that sessions 1, 2 do not become 1.0, 2.0."""
    from formulaic.transforms import TRANSFORMS

    values = pd.Series(data)
    if pd.api.types.is_float_dtype(values.dtype) and (np.floor(values) == values).all():
        data = values.astype("int64")
    return TRANSFORMS["C"](data, contrasts, levels=levels, spans_intercept=spans_intercept)


def _refuse_numbers_as_text(data: pd.DataFrame, name: str) -> None:
    """Text such as '1,5' would become a factor with a level for every number."""
    distinct = data[name].drop_duplicates()
    if not all(isinstance(value, str) for value in distinct):
        return
    looks = distinct[[bool(_NUMBER.fullmatch(value)) for value in distinct]]
    whole = all(value.strip().isdigit() for value in looks)
    if 2 * len(looks) > len(distinct) and (len(looks) > _MOST_CODES or not whole):
        raise DataError(
            f"The column {name!r} holds numbers written as text.",
            row=looks.index[0],
            column=name,
            value=looks.iloc[0],
            remedy=f"Turn it into numbers (decimal commas?), or write C({name}) after pandas' astype('category').",
        )


def holds_dates(column: pd.Series) -> bool:
    """Whether a column holds dates, times or spans of time, in whatever type."""
    if isinstance(column.dtype, pd.PeriodDtype):
        return True
    kinds = ("datetime64", "datetime", "date", "timedelta64", "timedelta", "time", "period")
    return column.dtype.kind in "mMO" and pd.api.types.infer_dtype(column, skipna=True) in kinds


def _holds_numbers(column: pd.Series) -> bool:
    """Whether an object column holds numbers only (as tables built from lists of objects do)."""
    kinds = ("integer", "floating", "mixed-integer-float", "decimal")
    return column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) in kinds
