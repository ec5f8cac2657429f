"""anova: terms of several columns, factors coded in full, and empty cells, against lmerTest, pbkrtest and emmeans."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_stats.mixed.answers.anova import anova
from alliance_stats.mixed.answers.kenward_roger import kenward_roger
from alliance_stats.mixed.answers.means import marginal_means
from alliance_stats.mixed.fit import fit_mixed

REFERENCE = Path(__file__).parents[1] / "reference" / "mixed"
TERMS = json.loads((REFERENCE / "terms.json").read_text())


def read(name):
    data = pd.read_csv(REFERENCE / "data" / f"{name}.csv")
    return data.assign(phase=np.minimum(data["session"] // 5, 2)) if "session" in data else data


@pytest.mark.parametrize("spec", TERMS["models"], ids=lambda spec: spec["formula"])
def test_terms_of_several_columns_are_tested_whole(spec):
    fit = fit_mixed(spec["formula"], read(spec["name"]))
    assert -2 * fit.log_likelihood == pytest.approx(spec["deviance"], abs=1e-6)
    for method, df in (("satterthwaite", "satterthwaite"), ("kenward_roger", "kenward-roger")):
        table = anova(fit, df=df)
        for found, row in zip(table.itertuples(), spec[method], strict=bool(spec[method])):
            assert found.estimable
            assert found.df1 == row["num_df"]
            assert found.df2 == pytest.approx(row["den_df"], rel=2e-3)
            assert found.statistic == pytest.approx(row["f"], rel=1e-5)
            assert found.p_value == pytest.approx(row["p"], rel=1e-2, abs=1e-14)


def test_exactly_two_df_have_a_finite_test_for_every_coefficient():
    fit = fit_mixed("y ~ clinic + module + format + (1 | clinic:format)", read("split_plot"))
    table = fit.tidy(df="kenward-roger").set_index("term")
    assert table.loc[["clinic[T.c2]", "clinic[T.c3]", "format[T.single]"], "df"].tolist() == pytest.approx([2, 2, 2])
    clinic = [name for name in fit.terms if name.startswith("clinic")]
    found = kenward_roger(fit).test(np.eye(len(fit.terms))[[fit.terms.index(name) for name in clinic]])
    assert found["df2"].iloc[0] == pytest.approx(2)
    assert 0 < found["p_value"].iloc[0] < 1


@pytest.mark.parametrize("reference", ["CBT", "TAU"])
def test_what_an_empty_cell_hides_is_not_a_number(reference):
    """emmeans says nonEst; a number would depend on which column was left out."""
    data = read("empty_cell").assign(
        arm=lambda t: pd.Categorical(t["arm"], sorted(set(t["arm"]), key=reference.__ne__))
    )
    fit = fit_mixed("y ~ arm * phase + (1 | patient)", data, drop_aliased=True)
    for by, rows in (("arm", "arm"), ("phase", "phase"), (["arm", "phase"], "cells")):
        keys = [by] if isinstance(by, str) else by
        table = marginal_means(fit, by, df="kenward-roger").tidy().set_index(keys)
        for row in TERMS["empty_cell"]["means"][rows]:
            found = table.loc[tuple(row[key] for key in keys) if len(keys) > 1 else row[by]]
            assert found["estimable"] == (row["emmean"] is not None)
            wanted = [np.nan if row[name] is None else row[name] for name in ("emmean", "SE", "df")]
            assert found[["estimate", "std_error", "df"]].tolist() == pytest.approx(wanted, rel=1e-5, nan_ok=True)
    joint = {row["model term"]: row for row in TERMS["empty_cell"]["joint"]}
    table = anova(fit, df="kenward-roger").set_index("term")
    for term, found in table.iterrows():
        assert not found["estimable"]
        assert found["df1"] == joint[term]["df1"]
        assert found["statistic"] == pytest.approx(joint[term]["F.ratio"], abs=6e-4)
        assert found["p_value"] == pytest.approx(joint[term]["p.value"], rel=1e-5)


def test_contrasts_of_what_cannot_be_estimated():
    fit = fit_mixed("y ~ arm * phase + (1 | patient)", read("empty_cell"), drop_aliased=True)
    table = marginal_means(fit, "arm", df="kenward-roger").contrasts(adjust="holm").set_index("term")
    assert table["estimable"].tolist() == [True, False, False]
    (known,) = (row for row in TERMS["empty_cell"]["means"]["pairs_arm"] if row["estimate"] is not None)
    assert table.loc[known["contrast"], "p_value"] == pytest.approx(known["p.value"], rel=1e-5)  # one test, not three
    assert table["estimate"].isna().sum() == 2


def test_a_term_whose_means_are_all_unknown_has_no_test():
    data = read("empty_cell").query("~(arm == 'TAU' & phase == 'p3') & ~(arm == 'PDT' & phase == 'p1')")
    data = data[~((data["arm"] == "CBT") & (data["phase"] == "p2"))]
    fit = fit_mixed("y ~ arm * phase + (1 | patient)", data, drop_aliased=True)
    found = anova(fit).set_index("term").loc["arm"]
    assert not found["estimable"]
    assert found["df1"] == 0
    assert np.isnan(found["statistic"])


def test_interaction_alone_takes_up_the_missing_main_effects():
    """arm:phase without main effects tests that all cell means are equal, 0 + arm that all means are zero."""
    data = read("empty_cell").query("phase != 'p2'")
    alone = fit_mixed("y ~ arm:phase + (1 | patient)", data)
    whole = fit_mixed("y ~ arm * phase + (1 | patient)", data)
    found = anova(alone).iloc[0]
    expected = whole.test([name for name in whole.terms if name != "Intercept"])
    assert found["df1"] == 5
    assert found["statistic"] == pytest.approx(expected["statistic"].iloc[0], rel=1e-6)
    assert anova(fit_mixed("y ~ 0 + arm + (1 | patient)", data))["df1"].tolist() == [3]


def test_raw_polynomials_keep_every_degree_of_freedom():
    data = read("three_level").assign(year=lambda t: 2000 + t["session"])
    raw = anova(fit_mixed("y ~ poly(session, 4, raw=True) + (1 | patient)", data))
    orthogonal = anova(fit_mixed("y ~ poly(session, 4) + (1 | patient)", data))
    assert raw["df1"].tolist() == [4]
    assert raw["statistic"].iloc[0] == pytest.approx(orthogonal["statistic"].iloc[0], rel=1e-5)
