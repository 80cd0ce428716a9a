"""Files of parameters: JSON, TOML, CSV, NPZ and Parquet, read as values by name."""

import csv
import itertools
import json
import struct
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from qallow_agent.base.errors import BadParameter, UsageError
from qallow_agent.client.parquet import read_parquet
from qallow_agent.client.points import Columns

Array = npt.NDArray[Any]

_UNREADABLE = (
    ValueError, KeyError, IndexError, EOFError, OverflowError, NotImplementedError, RecursionError,
    struct.error, zipfile.BadZipFile, zlib.error, csv.Error, MemoryError,
)  # fmt: skip
"""What the readers of these formats raise on bytes that are not theirs."""

_WORDS: Final = {"true": True, "yes": True, "false": False, "no": False}
_CHUNK_ROWS: Final = 1 << 14


def read_columns(path: str | Path) -> Columns:
    """Return the columns of a file: row by row they are the points of a sweep.

    Args:
        path: A CSV file with a header, an NPZ archive, a JSON or TOML file with a list a name, or a
            Parquet file (with the extra ``parquet``), told apart by its ending.

    Raises:
        UsageError: The file cannot be read, columns differ in length, or a value is no column.
        BadParameter: A column holds something else than numbers.
    """
    path = Path(path)
    columns: dict[str, Array] = {}
    for name, value in read_values(path).items():
        if not isinstance(value, list | np.ndarray):
            raise UsageError(
                f"{name} in {path} is one value, not a column", hint="give it to map by name"
            )
        columns[name] = numbers_of(path, name, value)
    return Columns(columns)


def read_values(path: Path) -> dict[str, Any]:
    """Return what a file names: single values, lists and arrays.

    Raises:
        UsageError: The file cannot be read, or is of no kind that is known here.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"{path} is of no kind that is read here", hint=f"one of {', '.join(sorted(_READERS))}"
        )
    try:
        return reader(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}", hint="name an existing file"
        ) from error
    except _UNREADABLE as error:
        raise UsageError(
            f"{path} does not hold parameters: {error}", hint="names with values, one a parameter"
        ) from error


def numbers_of(path: Path, name: str, value: Any) -> Array:
    """Return a list or an array that a file names as an array of numbers.

    Raises:
        BadParameter: It is ragged, or holds something else.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        why = f"{path}: {name} is a ragged list"
        raise BadParameter(why, hint="give equally long rows") from error
    if array.dtype.kind not in "biufc":
        odd = next((at for at, item in enumerate(value) if isinstance(item, str)), None)
        if odd is None:
            what = f"{name} holds {array.dtype}, not numbers"
        else:
            what = f"value {odd + 1} of {name} is {str(value[odd])!r}, which is no number"
        raise BadParameter(f"{path}: {what}", hint="give numbers, separated by commas in CSV")
    return array


def guess(text: str) -> Any:
    """Return a text as what it looks like: a number, an array as JSON, a truth value or a text.

    Raises:
        ValueError: It looks like JSON and is none.
    """
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    if text.startswith(("[", "{")):
        return np.asarray(json.loads(text))
    return _WORDS.get(text.lower(), text)


def word(text: str) -> bool:
    """Return a truth value.

    Raises:
        ValueError: The text is none.
    """
    return _WORDS[text.lower()] if text.lower() in _WORDS else bool(int(text))


def _json(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(document, list) and document and all(isinstance(row, dict) for row in document):
        if any(row.keys() != document[0].keys() for row in document):
            raise ValueError("its rows differ in their names")
        return {name: [row[name] for row in document] for name in document[0]}
    if not isinstance(document, dict):
        raise ValueError("it is neither an object nor a list of objects")  # noqa: TRY004 - the file is wrong
    return document


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _csv(path: Path) -> dict[str, Any]:
    with path.open(newline="", encoding="utf-8-sig") as opened:
        rows = csv.reader(opened)
        names = [name.strip() for name in next(rows, [])]
        chunks = [
            [_cells(cells) for cells in zip(*chunk, strict=True)]
            for chunk in _chunks(rows, len(names))
        ]
    if not chunks:
        raise ValueError("it has no rows below a header")
    columns = zip(*chunks, strict=True)
    return {name: np.concatenate(parts) for name, parts in zip(names, columns, strict=True)}


def _chunks(rows: Iterator[list[str]], width: int) -> Iterator[list[list[str]]]:
    """Yield the rows that are not empty, many at a time: as texts they take much memory."""
    numbered = enumerate(rows, start=2)
    while chunk := list(itertools.islice(numbered, _CHUNK_ROWS)):
        for number, row in chunk:
            if row and len(row) != width:
                raise ValueError(f"row {number} has {len(row)} of {width} columns")
        if full := [row for _, row in chunk if row]:
            yield full


def _cells(cells: tuple[str, ...]) -> Array:
    array = np.asarray(cells)
    for dtype in (np.int64, np.float64):
        try:
            return array.astype(dtype)
        except (ValueError, OverflowError):
            continue
    values = [guess(cell.strip()) for cell in cells]
    words = any(isinstance(value, str) for value in values)  # as objects, to be named as they stand
    return np.asarray(values, dtype=object if words else None)


def _npz(path: Path) -> dict[str, Any]:
    with path.open("rb") as opened:  # numpy leaks a file that it opens itself and cannot read
        if not zipfile.is_zipfile(opened):
            raise ValueError("it is no NPZ archive")
        opened.seek(0)
        archive = np.load(opened, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("it is one array without a name")  # noqa: TRY004 - the file is wrong
        return {name: archive[name] for name in archive.files}


_READERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    ".csv": _csv,
    ".json": _json,
    ".npz": _npz,
    ".parquet": read_parquet,
    ".toml": _toml,
}
