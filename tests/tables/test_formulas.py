"""Formulas: what may be evaluated, and that a power is a power."""

import numpy as np
import pandas as pd
import pytest

from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.mixed.fit import fit_mixed
from alliance_stats.outcome.linear import fit_linear
from alliance_stats.tables.formulas import model_matrix, one_sided, variables_of
from alliance_stats.tables.schema import DataError

DATA = pd.DataFrame(
    {"k": [1, 2, 3, 4, 5, 6], "x": [0.5, 1.5, -1.0, 2.0, 0.0, 3.0], "arm": list("abcabc"), "time to start": range(6)}
)


def columns(side):
    return model_matrix(one_sided(side), DATA, columns=variables_of(side)).drop(columns="Intercept")


HARMFUL = [
    "I(__import__('os').system('touch /tmp/alliance_stats_was_here'))",
    "{open('/etc/passwd').read()}",
    "x.sum()",
    "I(x.__class__)",
    "np.load(x)",
    "np.log.__class__(x)",
    "contr.sum.__init__(x)",
    "{(lambda: x)()}",
    "I([v for v in x])",
    "I(x[0])",
    "I(1 if x is 1 else 2)",
    "I(f'{x}')",
    "I((z := x))",
    "log(*x)",
    "log(eval('x'))",
    "C(x, levels=exec('1'))",
    "I(9**9**9)",
    "I((9**9)**9)",
    "I(2**x)",
    "I('a' * 10)",
    "lag(k)",
    "I(None)",
    "poly(x, 10**9)",
    "cr(x, df=100000)",
    "bs(x, df=k)",
    "hashed(arm, levels=3)",
    "(" * 60 + "x" + ")" * 60,
]


@pytest.mark.parametrize("side", HARMFUL)
def test_everything_else_is_refused_wherever_a_formula_is_taken(side):
    with pytest.raises(DataError) as error:
        one_sided(side)
    assert "\x1b" not in str(error.value)
    with pytest.raises(DataError):
        fit_mixed(f"x ~ {side} + (1 | arm)", DATA)
    with pytest.raises(DataError):
        fit_mixed(f"x ~ 1 + (0 + {side} | arm)", DATA)
    with pytest.raises(DataError):
        fit_mixed(f"{side} ~ 1 + (1 | arm)", DATA)
    with pytest.raises(DataError):
        fit_linear(f"x ~ {side}", DATA)
    intervals = pd.DataFrame({"patient": [1, 2], "start": 0, "stop": 1, "session": 1, "ending": ["dropout", None]})
    with pytest.raises(DataError):
        fit_dropout(side, intervals.assign(x=1.0, k=1, arm="a"), model="discrete")


@pytest.mark.parametrize(
    "side",
    [
        "log(k)",
        "np.sqrt(k) + abs(x)",
        "C(arm, Treatment('b'))",
        "C(arm, contr.sum)",
        "C(arm, Sum)",
        "C(k, levels=[1, 2, 3, 4, 5, 6])",
        "poly(k, 2, raw=True)",
        "bs(x, df=4, degree=2)",
        "cr(x, df=3, constraints='center')",
        "I(x > 0) + {arm == 'a'}",
        "center(k) * arm",
        "I(-x / 2 + k % 2)",
        "I(k^-1) + I(k ** (1 / 3))",
        "I(`time to start` / 7)",
    ],
)
def test_the_documented_transforms_are_taken(side):
    assert np.isfinite(columns(side).to_numpy(dtype=float)).all()


def test_a_power_is_a_power():
    """In Python ^ is exclusive or: 3 ^ 2 is 1."""
    assert columns("I(k^2)").iloc[:, 0].tolist() == [1, 4, 9, 16, 25, 36]
    assert columns("I(-k^2)").iloc[:, 0].tolist() == [-1, -4, -9, -16, -25, -36]
    assert columns("I(`time to start`^2)").iloc[:, 0].tolist() == [0, 1, 4, 9, 16, 25]


def test_powers_of_integers_do_not_overflow():
    big = DATA.assign(k=DATA["k"] * 10**10)
    made = model_matrix(one_sided("I(k**2)"), big, columns=("k",))
    assert made.iloc[:, 1].tolist() == [(j * 1e10) ** 2 for j in range(1, 7)]


def test_levels_of_whole_numbers_have_no_decimals():
    assert list(columns("C(k)")) == [f"C(k)[T.{j}]" for j in range(2, 7)]


def test_variables_are_columns_not_functions():
    assert variables_of("poly(k, 2) * C(arm, Treatment('a')) + np.log(x) + I(Sum + 1)") == ("Sum", "arm", "k", "x")


@pytest.mark.parametrize("kind", ["string", "category", object, "string[pyarrow]"])
def test_text_of_every_kind_is_a_factor(kind):
    table = DATA.assign(arm=DATA["arm"].astype(kind))
    made = model_matrix(one_sided("arm"), table, columns=("arm",))
    assert list(made) == ["Intercept", "arm[T.b]", "arm[T.c]"]


def test_numbers_as_text_dates_and_the_dot_are_refused_in_words():
    text = DATA.assign(x=["1,5", "2", "3,25", "n/a", "5", "6"])
    with pytest.raises(DataError, match=r"'x' holds numbers written as text. First at row 0 .*'1,5'"):
        model_matrix(one_sided("x"), text, columns=("x",))
    codes = DATA.assign(arm=["1", "2", "3"] * 2)
    assert list(model_matrix(one_sided("arm"), codes, columns=("arm",))) == ["Intercept", "arm[T.2]", "arm[T.3]"]
    dates = DATA.assign(x=pd.date_range("2024-01-01", periods=6))
    with pytest.raises(DataError, match="'x' holds dates"):
        model_matrix(one_sided("x"), dates, columns=("x",))
    for column in (dates.assign(x=dates["x"].dt.date), dates.assign(x=dates["x"].dt.to_period("D"))):
        with pytest.raises(DataError, match="'x' holds dates"):
            model_matrix(one_sided("x"), column, columns=("x",))
    with pytest.raises(DataError, match="all other columns"):
        one_sided(".")
