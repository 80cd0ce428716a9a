"""Lines: where a key of a TOML document stands in its text, for errors that people can follow."""

import re
from collections import Counter

Path = tuple[str | int, ...]
"""Keys from the top, and places within arrays of tables."""

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*="
)
_PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_-]+)")


def line_of(text: str, path: Path) -> int | None:
    """Return the number of the line that writes a key, or its closest table; None without any.

    What is written over several lines is found where it begins. A dotted name in the path may be
    one quoted key or several keys: both are the same to whoever reads.
    """
    wanted = _flat(path)
    best: tuple[int, int] | None = None
    table: tuple[str, ...] = ()
    seen: Counter[tuple[str, ...]] = Counter()
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header is not None:
            table = _parts(header.group(2))
            if header.group(1) == "[[":
                name = table
                table = (*name, str(seen[name]))
                seen[name] += 1
            found = table
        else:
            key = _KEY.match(line)
            if key is None:
                continue
            found = (*table, *_parts(key.group(1)))
        common = len(found) if wanted[: len(found)] == found else 0
        if common and (best is None or common > best[0]):
            best = (common, number)
    return None if best is None else best[1]


def show_path(path: Path) -> str:
    """Return a path as people write it: ``submit[0].who``; arrays count from 1 for them."""
    shown = ""
    for part in path:
        shown += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if shown else part
    return shown


def _flat(path: Path) -> tuple[str, ...]:
    return tuple(piece for part in path for piece in str(part).split("."))


def _parts(text: str) -> tuple[str, ...]:
    names = (a or b or c for a, b, c in _PART.findall(text))
    return tuple(piece for name in names for piece in name.split("."))
