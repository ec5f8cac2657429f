"""The verbs refuse what is not a fit and bring columns into one order."""

import pandas as pd
import pytest

from alliance_stats.tables.schema import TERMS_COLUMNS, VARIANCES_COLUMNS
from alliance_stats.tables.terms import glance, tidy, variances


class Fitted:
    def tidy(self, *, level=0.95):
        return pd.DataFrame([{"note": level} | dict.fromkeys(reversed(TERMS_COLUMNS), 0)])

    def glance(self):
        return pd.DataFrame([{"model": "toy"}])

    def variances(self):
        return pd.DataFrame([dict.fromkeys(reversed(VARIANCES_COLUMNS), 0)])


def test_columns_come_in_the_shared_order():
    assert tuple(tidy(Fitted(), level=0.9).columns) == (*TERMS_COLUMNS, "note")
    assert tuple(variances(Fitted()).columns) == VARIANCES_COLUMNS
    assert glance(Fitted())["model"].tolist() == ["toy"]


def test_refuses_what_is_not_a_fit():
    with pytest.raises(TypeError, match="dict is not a fitted model"):
        tidy({})


@pytest.mark.parametrize("level", [0, 1, 95])
def test_level_is_a_share(level):
    with pytest.raises(ValueError, match="between 0 and 1"):
        tidy(Fitted(), level=level)
