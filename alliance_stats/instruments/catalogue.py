"""The instruments that the package ships, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from alliance_stats.instruments.instrument import Instrument
from alliance_stats.instruments.key_files import instrument_from, read_instrument, shipped
from alliance_stats.tables.schema import DataError, suggest

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
