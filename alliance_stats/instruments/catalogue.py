"""Instruments by name, or from TOML: shipped keys and a user's own are read by the same code, with the same checks."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alliance_stats.instruments.instrument import Instrument
from alliance_stats.tables.schema import DataError, suggest

KEYS = Path(__file__).parent / "keys"
_FIELDS = {item.name for item in dataclasses.fields(Instrument)}
_NEEDED = ("name", "items", "low", "high", "higher_is", "score")


def read_instrument(path: str | Path) -> Instrument:
    """An instrument from a few lines of TOML.

    Parameters
    ----------
    path : str or Path
        A TOML file whose keys are the attributes of :class:`Instrument`. ``name``, ``items`` (how many, or a list of
        numbers), ``low``, ``high``, ``higher_is`` and ``score`` are needed; ``subscales`` is a table of lists.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a needed key, has an unknown one, or contradicts itself.

    Examples
    --------
    A file ``my_alliance.toml`` of your own::

        name = "My alliance scale"
        items = 8
        low = 1
        high = 7
        reversed = [2, 5]
        higher_is = "better"
        score = "mean"
        max_missing = 1

        [subscales]
        bond = [1, 2, 3, 4]
        work = [5, 6, 7, 8]
    """
    path = Path(path)
    return instrument_from(read_toml(path, "instrument"), where=path.name)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The tables of a TOML file that is to hold an instrument or a code book."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(f"There is no {what} file {str(path)!r}.", remedy="Check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} cannot be read: {error}.", remedy="Save it as UTF-8 text.") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:  # the latter: nested too deeply
        raise DataError(f"{path.name} is not TOML: {error}.", remedy="Correct the place named.") from error


def instrument_from(content: Mapping[str, Any], *, where: str = "the instrument") -> Instrument:
    """An instrument from the tables of a TOML file; `where` names the file in messages."""
    for key in content:
        if key not in _FIELDS:
            raise DataError(f"{where} has the unknown key {key!r}.", remedy=suggest(key, sorted(_FIELDS)))
    for key in _NEEDED:
        if key not in content:
            raise DataError(f"{where} does not say {key!r}.", remedy=f"Add it; needed are {', '.join(_NEEDED)}.")
    items = content["items"]
    numbers = tuple(range(1, items + 1)) if isinstance(items, int) else items
    try:
        return Instrument(**{**content, "items": numbers})
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where}: {error}", remedy="Correct the key in the file.") from error


def shipped() -> dict[str, Instrument]:
    """Every key that ships with the package, by name, in alphabetical order."""
    found = (read_instrument(path) for path in KEYS.glob("*.toml"))
    return {key.name: key for key in sorted(found, key=lambda key: key.name.casefold())}


INSTRUMENTS: dict[str, Instrument] = shipped()


def as_instrument(instrument: str | Path | Instrument) -> Instrument:
    """An instrument from its name, from the path of a TOML file, or as it is.

    >>> as_instrument("wai-sr").name
    'WAI-SR'
    """
    if isinstance(instrument, Instrument):
        return instrument
    if isinstance(instrument, Mapping):
        return instrument_from(instrument)
    if isinstance(instrument, Path) or str(instrument).endswith(".toml"):
        return read_instrument(instrument)
    names = {name.casefold(): name for name in INSTRUMENTS}
    if str(instrument).casefold() in names:
        return INSTRUMENTS[names[str(instrument).casefold()]]
    remedy = f"{suggest(str(instrument), INSTRUMENTS)} Your own goes in a TOML file (read_instrument)."
    raise DataError(f"There is no instrument {instrument!r}.", remedy=remedy)
