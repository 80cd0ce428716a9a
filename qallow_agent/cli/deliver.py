"""Results on their way out: into a folder with their summary, or into one file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from qallow_agent.base.errors import UsageError
from qallow_agent.client.parquet import check_parquet
from qallow_agent.client.places import open_folder, replacing
from qallow_agent.client.tables import ENDINGS, Table, plain_table, write_table

Array = npt.NDArray[Any]

RESULTS_NAME = "results.npz"
SUMMARY_NAME = "summary.json"


def is_file(output: Path) -> bool:
    """Return whether results go into one file of this name, not into a folder."""
    return output.suffix.lower() in ENDINGS and not output.is_dir()


def folder_of(output: Path) -> Path:
    """Return the folder in which something will be written."""
    return output.parent if is_file(output) else output


def open_output(output: Path) -> None:
    """See that results can be written, before anything is computed.

    Raises:
        UsageError: Results are not written as such a file, or Parquet cannot be written here.
        StorageFull: No space.
        StorageError: The folder cannot be made or written.
    """
    ending = output.suffix.lower()
    if ending not in ENDINGS and ending[1:].isalpha() and not output.is_dir():
        raise UsageError(
            f"{output}: results are not written as {ending}",
            hint=f"end the name in {', '.join(sorted(ENDINGS))}, or name a folder",
        )
    open_folder(folder_of(output))
    if ending == ".parquet" and is_file(output):
        check_parquet()


def deliver(
    output: Path, save: Callable[[Path], list[str]], summary: Mapping[str, Any]
) -> tuple[list[Path], list[str]]:
    """Write results: into the file that is named, or as an archive beside their summary.

    Args:
        output: A file or a folder.
        save: Writes the results to a file and returns what its kind has no place for.
        summary: What was asked and who did it; only a folder has a place for it.

    Returns:
        The files, and the outputs that are not in them.

    Raises:
        StorageFull: No space; files that were there before are untouched.
        StorageError: They cannot be written.
    """
    if is_file(output):
        return [output], save(output)
    results, text = output / RESULTS_NAME, output / SUMMARY_NAME
    left_out = save(results)
    with replacing(text) as opened:
        opened.write(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    return [results, text], left_out


def save_table(table: Table) -> Callable[[Path], list[str]]:
    """Return a way to write a table to a file."""
    return lambda path: write_table(path, table)


def save_single(arrays: Mapping[str, Array]) -> Callable[[Path], list[str]]:
    """Return a way to write the outputs of one evaluation; an archive keeps their very shapes."""

    def save(path: Path) -> list[str]:
        if path.suffix.lower() != ".npz":
            return write_table(path, single_row(arrays))
        with replacing(path) as opened:
            np.savez(opened, allow_pickle=False, **arrays)
        return []

    return save


def save_retained(arrays: Mapping[str, Array]) -> Callable[[Path], list[str]]:
    """Return a way to write what was retained: the points of a sweep, or a single evaluation."""
    return save_table(plain_table(arrays)) if "point" in arrays else save_single(arrays)


def single_row(arrays: Mapping[str, Array]) -> Table:
    """Return the outputs of one evaluation as a table of one row."""
    return plain_table({"point": np.arange(1)} | {name: a[None] for name, a in arrays.items()})
