"""The shipped keys are whole and say where they come from; a user's own key passes the same checks."""

import re

import numpy as np
import pytest

import alliance_stats as als
from alliance_stats.instruments.catalogue import KEYS, as_instrument
from alliance_stats.instruments.instrument import FACTS

WANTED = [
    *("WAI-36", "WAI-S", "WAI-SR", "WAI-SR (1-7)", "SAI", "CALPAS-P", "ARM-5", "HAq-II", "SRS"),
    *("OQ-45.2", "CORE-OM", "CORE-10", "ORS", "PHQ-9", "GAD-7", "BDI-II"),
    *("PSQ rupture", "PSQ rupture intensity", "PSQ rupture resolution"),
]
SIZES = {"WAI-36": 36, "OQ-45.2": 45, "CORE-OM": 34, "HAq-II": 19, "CALPAS-P": 24, "BDI-II": 21}
TOTALS = {
    "WAI-36": (36, 252),
    "WAI-SR": (1, 5),
    "WAI-SR (1-7)": (1, 7),
    "SRS": (0, 40),
    "ORS": (0, 40),
    "OQ-45.2": (0, 180),
    "CORE-OM": (0, 40),
    "CORE-10": (0, 40),
    "PHQ-9": (0, 27),
    "GAD-7": (0, 21),
    "BDI-II": (0, 63),
}
OWN = """
name = "Mine"
items = 4
low = 1
high = 7
reversed = [2]
higher_is = "better"
score = "mean"
max_missing = 1

[subscales]
a = [1, 2]
b = [3, 4]
"""


def test_every_instrument_wanted_is_there():
    assert set(WANTED) == set(als.INSTRUMENTS)


@pytest.mark.parametrize("name", WANTED)
def test_key_is_whole(name):
    key = als.INSTRUMENTS[name]
    assert key.items == tuple(range(1, len(key.items) + 1))
    assert len(key.items) == SIZES.get(name, len(key.items))
    assert key.total_range == TOTALS.get(name, key.total_range)
    if key.subscales:  # every shipped set of subscales divides the items without remainder or overlap
        assert sorted(item for items in key.subscales.values() for item in items) == list(key.items)
    assert key.source
    assert not set(key.verified) & set(key.unverified)
    assert {"items"} <= set(key.verified) | set(key.unverified)
    assert list(key.table()["fact"]) == list(FACTS)


def test_alliance_is_better_when_higher_and_symptoms_worse():
    for key in als.INSTRUMENTS.values():
        if key.construct == "symptoms":
            assert key.higher_is == "worse"
        if key.construct in ("alliance", "wellbeing"):
            assert key.higher_is == "better"


def test_no_item_wording_is_shipped():
    for path in KEYS.glob("*.toml"):
        text = re.sub(r"(?m)^(name|title|source|raters|construct).*$", "", path.read_text(encoding="utf-8"))
        assert not re.search(
            r"\b(I feel|I believe|my therapist|your therapist|bothered by|I am)\b", text, re.IGNORECASE
        )


def test_an_unverified_key_says_so():
    assert any("reversed" in sentence for sentence in als.INSTRUMENTS["WAI-36"].caveats())
    assert als.INSTRUMENTS["WAI-SR"].caveats() == []


def test_own_instrument(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(OWN, encoding="utf-8")
    key = als.instruments.read_instrument(path)
    assert key.subscales["b"] == (3, 4)
    assert key.max_missing == 1
    assert as_instrument(str(path)) == key
    turned = key.reverse(np.array([[1.0, 1, 2, 3]]))
    assert turned.tolist() == [[1, 7, 2, 3]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("reversed = [2]", "reversed = [9]"), "names item 9"),
        (("high = 7", "high = 1"), "must be smaller"),
        (("score = ", "scoring = "), "unknown key 'scoring'. Did you mean 'score'"),
        (('higher_is = "better"', 'higher_is = "good"'), "higher_is='good'"),
        (('higher_is = "better"\n', ""), "does not say 'higher_is'"),
        (("b = [3, 4]", "b = [3, 3]"), "twice"),
        (("max_missing = 1", "max_missing = 4"), "max_missing=4"),
        (("items = 4", "items = []"), "at least one item"),
        (("items = 4", "items = "), "not TOML"),
        (("low = 1", 'low = "one"'), "mine.toml"),
    ],
)
def test_mistakes_in_an_own_instrument(tmp_path, change, message):
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace(*change), encoding="utf-8")
    with pytest.raises(als.DataError, match=re.escape(message)):
        als.instruments.read_instrument(path)


def test_unknown_names_and_files(tmp_path):
    with pytest.raises(als.DataError, match=r"Did you mean 'WAI-SR'"):
        as_instrument("WAI-SSR")
    with pytest.raises(als.DataError, match="no instrument file"):
        als.instruments.read_instrument(tmp_path / "none.toml")


def test_another_range_drops_what_belongs_to_the_published_one():
    key = als.INSTRUMENTS["CORE-10"].with_range(1, 5)
    assert key.cutoffs == {}
    assert "range" in key.unverified
    assert key.reversed == (2, 3)


def test_a_key_file_nested_too_deeply_is_one_error(tmp_path):
    path = tmp_path / "deep.toml"
    path.write_text("a = " + "[" * 100_000)
    with pytest.raises(als.DataError, match="not TOML"):
        als.instruments.read_instrument(path)
