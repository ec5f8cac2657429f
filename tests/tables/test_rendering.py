"""Results as text and HTML: one style, rounded at the end, everything from data escaped."""

import numpy as np
import pandas as pd
import pytest

from alliance_stats.tables.rendering import as_html, as_text, printed, significant
from alliance_stats.tables.terms import terms_table


def test_terms_are_printed_as_the_field_prints_them():
    table = terms_table(["x", "z"], [1.23456, -20.0], [0.4, 10.0], [12.34, np.inf], level=0.95)
    shown = printed(table.assign(ratio=1.5, ratio_low=1.25, ratio_high=np.nan))
    assert shown.columns.tolist() == [
        "term",
        "estimate",
        "SE",
        "df",
        "statistic",
        "p",
        "95% CI",
        "ratio",
        "ratio 95% CI",
    ]
    assert shown.iloc[0].tolist()[:6] == ["x", "1.235", "0.4000", "12.3", "3.09", ".009"]
    assert shown.iloc[1].tolist()[1:7] == ["-20.00", "10.00", "inf", "-2.00", ".046", "[-39.60, -0.4004]"]
    assert printed(table, level=0.9).columns[-1] == "90% CI"


def test_missing_is_empty_and_whole_numbers_are_whole():
    table = pd.DataFrame({"n": pd.array([3, None], dtype="Int64"), "b": [True, False], "x": [np.nan, 0.0]})
    assert printed(table).to_numpy().tolist() == [["3", "yes", ""], ["", "no", "0.000"]]
    assert printed(pd.DataFrame({"ci_low": [np.nan], "ci_high": [np.nan]}))["95% CI"].tolist() == [""]


def test_text_is_plain_and_html_takes_the_colours_of_the_page():
    nasty = "<script>&\"'"
    table = pd.DataFrame({nasty: [nasty], "estimate": [-1.5]})
    text = as_text([nasty, "second line"], {"Terms": table}, [nasty])
    assert text.isascii()
    html = as_html([nasty, "second line"], {nasty: table}, [nasty])
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 5  # title, heading, column, cell, note
    assert "color" not in html
    assert "<br>second line" in html
    assert '<td style="text-align: right">-1.500</td>' in html


def test_a_table_without_rows_shows_its_columns():
    empty = pd.DataFrame({"term": pd.Series(dtype=object), "estimate": pd.Series(dtype=float)})
    assert "estimate" in as_text(["t"], {"Terms": empty})
    assert "<tbody></tbody>" in as_html(["t"], {"Terms": empty})


@pytest.mark.parametrize(("value", "text"), [(9.9996, "10.00"), (0.00099996, "0.001000"), (1e12, "1.000e+12")])
def test_digits_count_after_rounding(value, text):
    assert significant(value) == text
