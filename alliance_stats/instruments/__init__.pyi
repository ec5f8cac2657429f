from alliance_stats.instruments.catalogue import as_instrument as as_instrument
from alliance_stats.instruments.catalogue import instrument_from as instrument_from
from alliance_stats.instruments.catalogue import read_instrument as read_instrument
from alliance_stats.instruments.codebook import CodeBook as CodeBook
from alliance_stats.instruments.codebook import as_code_book as as_code_book
from alliance_stats.instruments.instrument import Instrument as Instrument
