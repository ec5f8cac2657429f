"""Scores by hand for every instrument, missing answers, ranges, and the question about reversed items."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.score.questions import item_rest_correlations


def rows(answers, pattern="i{item}"):
    """SESSIONS from a list of rows of answers, one patient."""
    answers = np.atleast_2d(np.asarray(answers, dtype=float))
    columns = {pattern.format(item=number): answers[:, number - 1] for number in range(1, answers.shape[1] + 1)}
    return pd.DataFrame({"patient": "a", "session": np.arange(1, len(answers) + 1), **columns})


def scored(sheets, instrument, **options):
    return als.score_items(rows(sheets), instrument, items="i{item}", into="s", **options)


def first(sheet, instrument, **options):
    return scored(sheet, instrument, **options).iloc[0]


# -- one hand-scored answer sheet per instrument ---------------------------------------------------------------
def answers_of(n, fill, **given):
    """n answers, all `fill` but those given as i<number>=answer."""
    sheet = [fill] * n
    for name, answer in given.items():
        sheet[int(name[1:]) - 1] = answer
    return sheet


def test_wai_sr():
    # task 1, 2, 10, 12 = 5+4+3+2 = 14; bond 3, 5, 7, 9 = 1+1+2+2 = 6; goal 4, 6, 8, 11 = 5+5+5+5 = 20; sum 40
    got = first([5, 4, 1, 5, 1, 5, 2, 5, 2, 3, 5, 2], "WAI-SR")
    assert (got["s_task"], got["s_bond"], got["s_goal"]) == (3.5, 1.5, 5.0)
    assert got["s"] == pytest.approx(40 / 12)
    assert got["s_n_items"] == 12


def test_wai_sr_on_seven_points():
    assert first([7] * 12, "WAI-SR (1-7)")["s"] == 7
    assert first([7] * 12, "WAI-SR", answers=[1, 7])["s"] == 7
    with pytest.raises(als.DataError, match="outside 1 to 5"):
        scored([7] * 12, "WAI-SR")


def test_wai_36():
    # All answers 6. Not reversed: 6; reversed (14 items): 8 - 6 = 2. Sum = 22 x 6 + 14 x 2 = 160.
    # Task has reversed 7, 11, 15, 31, 33: 7 x 6 + 5 x 2 = 52; bond 1, 20, 29: 9 x 6 + 3 x 2 = 60;
    # goal 3, 9, 10, 12, 27, 34: 6 x 6 + 6 x 2 = 48.
    got = first([6] * 36, "WAI-36")
    assert (got["s"], got["s_task"], got["s_bond"], got["s_goal"]) == (160, 52, 60, 48)


def test_wai_s():
    # All 5; items 4 and 10 (both goal) count 3: goal (3+5+3+5)/4 = 4; total (10 x 5 + 2 x 3)/12.
    got = first([5] * 12, "WAI-S")
    assert (got["s_task"], got["s_bond"], got["s_goal"]) == (5, 5, 4)
    assert got["s"] == pytest.approx(56 / 12)


def test_sai():
    assert first([0, 1, 2, 3, 4, 5], "SAI")["s"] == 2.5


def test_calpas():
    assert first([1, 7] * 12, "CALPAS-P")["s"] == 4


def test_arm_5():
    # 6, 5, reversed 2 -> 6, 7, 6: mean 30 / 5
    assert first([6, 5, 2, 7, 6], "ARM-5")["s"] == 6


def test_haq_ii():
    # All 5; reversed 4, 8, 11, 16, 19 count 2: (14 x 5 + 5 x 2) / 19 = 80 / 19
    assert first([5] * 19, "HAq-II")["s"] == pytest.approx(80 / 19)
    assert first([5] * 19, "HAq-II", score="sum")["s"] == 80


def test_srs_and_ors():
    got = first([9.3, 8.7, 10, 6.1], "SRS")
    assert got["s"] == pytest.approx(34.1)
    assert got["s_goals"] == 8.7
    assert first([2.5, 5, 7.5, 0.4], "ORS")["s"] == pytest.approx(15.4)


def test_oq_45():
    # All 1: 36 x 1 + 9 reversed x 3 = 63. IR has reversed 1, 20, 37, 43: 7 + 12 = 19; SR 12, 21: 7 + 6 = 13; SD 31.
    got = first([1] * 45, "OQ-45.2")
    assert (got["s"], got["s_interpersonal_relations"], got["s_social_role"], got["s_symptom_distress"]) == (
        63,
        19,
        13,
        31,
    )


def test_oq_45_missing_is_the_rounded_mean_of_the_subscale():
    # Social role 4, 12, 14, 21, 28, 32, 38, 39, 44: answers as keyed 1,3,1,3,1,1,1,1 without item 44: mean 12/8 = 1.5,
    # rounded to 2. Total 63 - 1 + 2 = 64.
    got = first(answers_of(45, 1, i44=np.nan), "OQ-45.2")
    assert (got["s_social_role"], got["s"], got["s_n_items"]) == (14, 64, 44)


def test_core_om():
    # All 1: 26 x 1 + 8 reversed x 3 = 50; 50 / 34 x 10. Wellbeing (4, 31 reversed): (1+1+3+3)/4 x 10 = 20; risk 10;
    # problems 10; functioning (3, 7, 12, 19, 21, 32 reversed): (6 x 3 + 6) / 12 x 10 = 20.
    got = first([1] * 34, "CORE-OM")
    assert got["s"] == pytest.approx(500 / 34)
    assert (got["s_wellbeing"], got["s_risk"], got["s_problems"], got["s_functioning"]) == (20, 10, 10, 20)


def test_core_om_missing():
    # Items 2, 5 (problems) missing: total from 32 items (48 / 32 x 10); problems has 2 missing, 1 allowed.
    got = first(answers_of(34, 1, i2=np.nan, i5=np.nan), "CORE-OM")
    assert got["s"] == pytest.approx(480 / 32)
    assert np.isnan(got["s_problems"])
    assert got["s_functioning"] == 20
    one = first(answers_of(34, 1, i2=np.nan, i4=np.nan), "CORE-OM")
    assert one["s_problems"] == 10
    assert np.isnan(one["s_wellbeing"])
    four = first(answers_of(34, 1, i2=np.nan, i5=np.nan, i8=np.nan, i1=np.nan), "CORE-OM")
    assert np.isnan(four["s"])


def test_core_10():
    # 1 everywhere, 2 and 3 reversed to 3: 8 + 6 = 14. One missing of value 1: (13 / 9) x 10.
    assert first([1] * 10, "CORE-10")["s"] == 14
    assert first(answers_of(10, 1, i10=np.nan), "CORE-10")["s"] == pytest.approx(130 / 9)
    assert np.isnan(first(answers_of(10, 1, i10=np.nan, i9=np.nan), "CORE-10")["s"])


@pytest.mark.parametrize(("name", "sheet", "total"), [
    ("PHQ-9", [0, 1, 2, 3, 3, 2, 1, 0, 1], 13),
    ("GAD-7", [3, 3, 2, 2, 1, 0, 0], 11),
    ("BDI-II", [1] * 20 + [3], 23),
    ("PSQ rupture", [1], 1),
    ("PSQ rupture intensity", [4], 4),
    ("PSQ rupture resolution", [2], 2),
])  # fmt: skip
def test_plain_sums(name, sheet, total):
    assert first(sheet, name)["s"] == total


def test_every_instrument_has_a_worked_example():
    text = Path(__file__).read_text(encoding="utf-8")
    for name in als.INSTRUMENTS:
        assert f'"{name}"' in text, name


# -- missing answers -------------------------------------------------------------------------------------------
def test_missing_answers_are_allowed_only_when_declared():
    sheet = answers_of(12, 4, i1=np.nan, i2=2)
    assert np.isnan(first(sheet, "WAI-SR")["s"])
    got = first(sheet, "WAI-SR", max_missing=3)
    assert got["s"] == pytest.approx((2 + 10 * 4) / 11)
    assert got["s_task"] == pytest.approx((2 + 4 + 4) / 3)  # 3 of 12 allowed is 1 of 4
    assert got["s_n_items"] == 11
    assert np.isnan(first([np.nan] * 12, "WAI-SR", max_missing=11)["s"])


def naive(sheet, key, max_missing):
    kept = [key.low + key.high - a if i + 1 in key.reversed else a for i, a in enumerate(sheet) if not np.isnan(a)]
    if len(sheet) - len(kept) > max_missing or not kept:
        return np.nan
    mean = sum(kept) / len(kept)
    return (mean * len(sheet) if key.score == "sum" else mean) * key.factor


@pytest.mark.parametrize("name", ["WAI-36", "WAI-S", "CORE-OM", "HAq-II", "PHQ-9"])
def test_the_definition_as_a_loop(name):
    key = als.INSTRUMENTS[name]
    rng = np.random.default_rng(3)
    sheets = rng.integers(key.low, key.high + 1, size=(200, len(key.items))).astype(float)
    sheets[rng.random(sheets.shape) < 0.15] = np.nan
    got = scored(sheets, name, max_missing=3)["s"].to_numpy()
    want = np.array([naive(sheet, key, 3) for sheet in sheets])
    assert np.allclose(got, want, equal_nan=True)
    assert np.isnan(want).any()


def test_mean_of_subscales():
    got = first(answers_of(12, 1, i3=5, i5=5, i7=5, i9=5), "WAI-SR", score="mean_of_subscales")
    assert got["s"] == pytest.approx((1 + 5 + 1) / 3)


# -- range and text --------------------------------------------------------------------------------------------
def test_out_of_range_names_the_place():
    table = rows([[4] * 12, answers_of(12, 4, i7=9)])
    with pytest.raises(
        als.DataError, match=r"'i7' holds an answer outside 1 to 5.*patient 'a', session 2, column 'i7'.*: 9"
    ):
        als.score_items(table, "WAI-SR", items="i{item}", into="s")


def test_out_of_range_as_missing_is_counted():
    got = scored([answers_of(12, 4, i7=9, i8=0)], "WAI-SR", out_of_range="missing", max_missing=2).iloc[0]
    assert (got["s"], got["s_n_out_of_range"], got["s_n_items"]) == (4, 2, 10)


def test_a_fraction_is_no_answer_where_answers_are_whole():
    with pytest.raises(als.DataError, match="not a whole number"):
        scored(answers_of(12, 4, i1=4.5), "WAI-SR")


def test_text_is_refused():
    table = rows([[4] * 12]).astype({"i3": object})
    table.loc[0, "i3"] = "often"
    with pytest.raises(als.DataError, match="'i3' must hold numbers"):
        als.score_items(table, "WAI-SR", items="i{item}", into="s")


def test_straight_lining():
    got = scored([[4] * 12, answers_of(12, 4, i2=3), [np.nan] * 10 + [4, 4], [np.nan] * 9 + [4, 4, 4]], "WAI-SR")
    assert got["s_straight"].tolist() == [True, False, False, True]


# -- the question about reversed items -------------------------------------------------------------------------
def study(reversed_in_file):
    rng = np.random.default_rng(1)
    level = rng.normal(4.5, 1, 300)
    sheets = np.clip(np.round(level[:, None] + rng.normal(0, 0.8, (300, 12))), 1, 7)
    if not reversed_in_file:
        sheets[:, [3, 9]] = 8 - sheets[:, [3, 9]]
    return sheets


def test_already_reversed_items_are_asked_about_and_never_flipped(caplog):
    with caplog.at_level(logging.WARNING, logger="alliance_stats"):
        got = scored(study(reversed_in_file=True), "WAI-S")
    questions = [note for note in got.attrs["notes"] if "already_reversed" in note]
    assert len(questions) == 1
    assert "item 4" in questions[0]
    assert "already_reversed=[4, 10]" in questions[0]
    assert questions[0] in caplog.text
    # Nothing was changed: the score is still the keyed one.
    sheets = study(reversed_in_file=True)
    keyed = sheets.copy()
    keyed[:, [3, 9]] = 8 - keyed[:, [3, 9]]
    assert np.allclose(got["s"], keyed.mean(axis=1))


def test_no_question_for_items_as_keyed_or_declared():
    assert not [n for n in scored(study(reversed_in_file=False), "WAI-S").attrs["notes"] if "runs against" in n]
    got = scored(study(reversed_in_file=True), "WAI-S", already_reversed=True)
    assert not [note for note in got.attrs["notes"] if "runs against" in note]
    assert np.allclose(got["s"], study(reversed_in_file=True).mean(axis=1))
    assert np.allclose(scored(study(reversed_in_file=True), "WAI-S", already_reversed=[4, 10])["s"], got["s"])


def test_an_item_keyed_the_other_way_in_the_study_is_asked_about():
    sheets = study(reversed_in_file=False)
    sheets[:, 0] = 8 - sheets[:, 0]
    notes = scored(sheets, "WAI-S").attrs["notes"]
    assert any("item 1 " in note and "keyed the other way round" in note for note in notes)


def test_item_rest_correlations_match_numpy():
    values = np.random.default_rng(2).normal(size=(50, 5)) + np.arange(5)
    want = [np.corrcoef(values[:, i], np.delete(values, i, axis=1).sum(axis=1))[0, 1] for i in range(5)]
    covariance = np.cov(values, rowvar=False)
    assert np.allclose(item_rest_correlations(np.diag(covariance), covariance.sum(axis=1)), want)


# -- columns ---------------------------------------------------------------------------------------------------
def test_items_by_list_and_dict_agree_with_the_pattern():
    table = rows([[1, 2, 3, 4, 5]])
    names = ["i1", "i2", "i3", "i4", "i5"]
    by_pattern = als.score_items(table, "ARM-5", items="i{item}", into="s")
    by_list = als.score_items(table, "ARM-5", items=names, into="s")
    by_dict = als.score_items(table, "ARM-5", items={str(k + 1): name for k, name in enumerate(names)}, into="s")
    pd.testing.assert_frame_equal(by_pattern, by_list)
    pd.testing.assert_frame_equal(by_pattern, by_dict)


@pytest.mark.parametrize(("items", "message"), [
    ("wai_{item}", "No column was found for item 1 of ARM-5"),
    (["i1", "i2"], "names 2 columns"),
    ({1: "i1", 2: "i2", 3: "i3", 4: "i4", 5: "nope"}, "no column 'nope'"),
])  # fmt: skip
def test_item_columns_missing(items, message):
    with pytest.raises(als.DataError, match=message):
        als.score_items(rows([[1, 2, 3, 4, 5]]), "ARM-5", items=items, into="s")


def test_surplus_items_are_another_instrument():
    with pytest.raises(als.DataError, match="'i6' would be item 6"):
        scored([[1] * 6], "ARM-5")


def test_a_column_of_the_file_is_never_replaced():
    table = rows([[1, 2, 3, 4, 5]]).assign(s=0.0)
    with pytest.raises(als.DataError, match="has a column 's' already"):
        als.score_items(table, "ARM-5", items="i{item}", into="s")
    once = als.score_items(table.drop(columns="s"), "ARM-5", items="i{item}", into="s")
    again = als.score_items(once, "ARM-5", items="i{item}", into="s")
    pd.testing.assert_frame_equal(once, again)


def test_the_frame_of_the_caller_is_left_alone():
    table = rows(study(reversed_in_file=False)[:30])
    before = table.copy(deep=True)
    als.score_items(table, "WAI-S", items="i{item}", into="s")
    pd.testing.assert_frame_equal(table, before)
    assert table.attrs == {}


def test_row_order_does_not_matter():
    table = rows(study(reversed_in_file=False)[:30])
    shuffled = table.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(
        als.score_items(table, "WAI-S", items="i{item}", into="s"),
        als.score_items(shuffled, "WAI-S", items="i{item}", into="s"),
    )


def test_unverified_facts_are_said_when_used():
    got = first_notes("WAI-36", 36)
    assert any("reversed not verified" in note for note in got)
    assert first_notes("WAI-SR", 12) == []


def first_notes(name, n):
    return scored([[4] * n], name).attrs["notes"]


def test_the_record_says_how():
    record = scored([[4] * 12], "WAI-SR").attrs["scored"]["s"]
    assert record["instrument"] == "WAI-SR"
    assert record["range"] == [1, 5]
    assert record["higher_is"] == "better"
    assert record["rows_scored"] == 1


def test_nullable_columns_and_an_extra_index_level():
    table = rows([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]).astype({f"i{k}": "Int64" for k in range(1, 6)})
    table.loc[1, "i1"] = pd.NA
    table.index = pd.MultiIndex.from_tuples([("x", 1), ("x", 2)])
    got = als.score_items(table, "ARM-5", items="i{item}", into="s")
    assert got["s"].iloc[0] == pytest.approx((1 + 2 + 5 + 4 + 5) / 5)
    assert np.isnan(got["s"].iloc[1])


def test_the_first_bad_answer_is_named():
    with pytest.raises(als.DataError, match=r"session 4, column 'i2'.*: 8"):
        scored([[1] * 5, [1] * 5, [1] * 5, [1, 8, 1, 9, 1], [9] * 5], "ARM-5")


# -- answers that look wrong ---------------------------------------------------------------------------------------
def arm5(patients=30, seed=3):
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.normal(5.5, 0.7, patients), 6)
    answers = np.clip(np.round(level[:, None] + rng.normal(0, 0.6, (len(level), 5))), 1, 7)
    table = pd.DataFrame(answers, columns=[f"a{item}" for item in range(1, 6)])
    table["a3"] = 8 - table["a3"]
    return table.assign(patient=np.repeat(np.arange(patients), 6), session=np.tile(np.arange(1, 7), patients))


def notes(table, **options):
    return " ".join(als.score_items(table, "ARM-5", items="a{item}", into="s", **options).attrs["notes"])


def test_items_reversed_already_in_a_part_of_the_file_are_asked_about():
    table = arm5()
    assert "in a part of the file" not in notes(table)
    half = table["patient"] < 12
    table.loc[half, "a3"] = 8 - table.loc[half, "a3"]
    assert "run against the others in 9 patients and with them in 18" in notes(table)


def test_the_same_answer_throughout_is_said():
    table = arm5()
    assert "the same answer" not in notes(table)
    table.loc[table.index % 4 > 0, [f"a{item}" for item in range(1, 6)]] = 6
    assert "in 76 % of the rows all items" in notes(table)


def test_answers_coded_one_lower_are_asked_about():
    table = arm5().assign(a1=lambda t: t["a1"].where(t["patient"] > 2, 0))
    assert "coded from 0 to 6" in notes(table, out_of_range="missing", max_missing=1)
    with pytest.raises(als.DataError, match="coded one lower"):
        notes(table)


@pytest.mark.parametrize("items", [["a1", "a2", "a3", "a4", "a1"], {1: "a1", 2: "a2", 3: "a3", 4: "a4", 5: "a4"}])
def test_a_column_named_for_two_items_is_refused(items):
    with pytest.raises(als.DataError, match="twice"):
        als.score_items(arm5(), "ARM-5", items=items, into="s")
    with pytest.raises(als.DataError, match="twice"):
        als.score_items(arm5(), "ARM-5", items={1: "a1", "1": "a2", 3: "a3", 4: "a4", 5: "a5"}, into="s")
    with pytest.raises(als.DataError, match="twice"):
        als.reliability.item_reliability(arm5(), ["a1", "a2", "a2"])
