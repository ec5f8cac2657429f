"""The verbs refuse what is not a fit and bring columns into one order."""

import numpy as np
import pandas as pd
import pytest

from alliance_stats.tables.schema import TERMS_COLUMNS, VARIANCES_COLUMNS
from alliance_stats.tables.terms import glance, terms_table, tidy, variances


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


def test_terms_are_those_of_statsmodels():
    """Student's t with finite degrees of freedom, the normal distribution with infinite ones."""
    import statsmodels.api as sm

    rng = np.random.default_rng(1)
    x = sm.add_constant(rng.normal(size=(20, 2)))
    y = x @ [1.0, 0.5, 0.0] + rng.normal(size=20)
    for use_t in (True, False):
        fit = sm.OLS(y, x).fit(use_t=use_t)
        df = fit.df_resid if use_t else np.inf
        table = terms_table(["a", "b", "c"], fit.params, fit.bse, df, level=0.9)
        assert tuple(table.columns) == TERMS_COLUMNS
        np.testing.assert_allclose(table["p_value"], fit.pvalues, rtol=1e-10)
        np.testing.assert_allclose(table[["ci_low", "ci_high"]], fit.conf_int(alpha=0.1), rtol=1e-10)


def test_a_term_without_standard_error_has_no_test():
    table = terms_table(["a"], [1.0], [0.0], 10, level=0.95)
    assert table[["statistic", "p_value"]].isna().all(axis=None)
    missing = terms_table(["a"], [np.nan], [np.nan], 10, level=0.95)
    assert missing.drop(columns=["term", "df"]).isna().all(axis=None)
