"""The encoding of a text file, found out or checked."""

from __future__ import annotations

import codecs

from alliance_stats.tables.schema import DataError

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SIGNATURES = {
    b"PK\x03\x04": "an Excel workbook or another zip file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls)",
    b"$FL2": "an SPSS file (.sav)",
    b"$FL3": "a compressed SPSS file (.zsav)",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip file",
    b"ARROW1": "a Feather file",
}


def as_utf8(content: bytes, encoding: str | None) -> tuple[bytes, str]:
    """The file as UTF-8 without byte-order mark and with plain line ends, and the encoding it had."""
    for signature, what in _SIGNATURES.items():
        if content.startswith(signature):
            raise DataError(
                f"The file is not text but {what}.", remedy="Give it its proper ending, such as .xlsx or .sav."
            )
    while content.startswith(codecs.BOM_UTF8 * 2):  # as programs leave that add a mark to a file that has one
        content = content[len(codecs.BOM_UTF8) :]
    for mark, name in _BOMS:
        if content.startswith(mark) and not content.startswith(codecs.BOM_UTF32_LE):
            text = _decode(content, name if name == "utf-16" else "utf-8-sig")
            return _plain_lines(text.encode()), name
    if encoding is not None:
        try:
            name = codecs.lookup(encoding).name
        except LookupError as error:
            raise DataError(
                f"encoding={encoding!r} is not known.", remedy="Common: 'utf-8', 'cp1252', 'latin-1', 'utf-16'."
            ) from error
        if name != "utf-8" and not content.isascii() and _is_utf8(content):
            raise DataError(
                f"The file is UTF-8 text, not {encoding}.",
                remedy="Leave encoding= out, or letters such as é become Ã©.",
            )
        return _plain_lines(_decode(content, name).encode("utf-8", "surrogatepass")), name
    sample = content[:4000]
    for name, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[0::2])):
        if zeros and zeros.count(0) > 0.4 * len(zeros):
            return _plain_lines(_decode(content, name).encode()), name
    if not content.isascii() or b"\x00" in content:
        _decode(content, "utf-8")
    return _plain_lines(content), "utf-8"


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\x00" not in content


def _decode(content: bytes, encoding: str) -> str:
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        before = content[max(0, error.start - 12) : error.start].split(b"\n")[-1]
        after = content[error.start : error.start + 12].split(b"\n")[0]
        shown = (before + after).decode("cp1252", "replace")
        raise DataError(
            f"The file is not {encoding.upper()} text: line {line} holds the byte 0x{content[error.start]:02x}.",
            remedy=f"Name its encoding: with encoding='cp1252' (Western Windows) the place reads {shown!r}.",
            row=line,
        ) from error
    except UnicodeError as error:
        raise DataError(f"The file is not {encoding.upper()} text.", remedy="Name its encoding=.") from error
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise DataError(
            f"Line {line} holds a zero byte, which no text has.",
            remedy="Is it another kind of file, or damaged? Export it again.",
            row=line,
        )
    return text


def _plain_lines(data: bytes) -> bytes:
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if data and not data.endswith(b"\n"):
        data += b"\n"
    return data
