"""What people and programs read: tables of 80 columns, one JSON document, errors with a fix."""

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import click
import msgspec

from qallow_agent.base.errors import QallowError

MIN_WIDTH = 80
"""Tables fit a terminal of this width; a wider one is used."""

_GAP = 2
_NARROWEST = 6
_COLOURS = {
    "ok": "green", "ready": "green", "alive": "green", "succeeded": "green", "warn": "yellow",
    "warming": "yellow", "suspect": "yellow", "degraded": "yellow", "draining": "yellow",
    "fail": "red", "dead": "red", "lost": "red", "failed": "red", "down": "red",
    "quarantined": "yellow", "expired": "red", "cancelled": "yellow",
}  # fmt: skip


def emit(schema: str, document: Mapping[str, Any]) -> None:
    """Print one JSON document, its schema first; NaN and infinities become null."""
    body = {"schema": schema} | {key: value for key, value in document.items() if key != "schema"}
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())


def note(text: str) -> None:
    """Say something to people only, on stderr; a closed terminal is no reason to stop."""
    with suppress(OSError):
        click.echo(text, err=True)


def say_error(error: QallowError, *, as_json: bool = False) -> None:
    """Print an error and its fix on stderr."""
    if as_json:
        document = {
            "schema": "qallow.error/v1",
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "retryable": error.retryable,
        }
        if error.document:
            document["problem"] = {
                key: value for key, value in error.document.items() if key != "text"
            }
        click.echo(msgspec.json.encode(document).decode(), err=True)
        return
    label = click.style("error:", fg="red", bold=True)
    click.echo(f"{label} {error.message}", err=True, color=_colour())
    if error.document.get("text"):
        click.echo(str(error.document["text"]), err=True)
    elif error.hint:
        click.echo(f"  fix: {error.hint}", err=True)


def pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and what they are, aligned."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {text}")


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    empty: str = "",
    wrap: bool = False,
    keep: int | None = None,
) -> None:
    """Print rows under headers, within the terminal's width; numbers stand to the right.

    A state word gets its colour on a terminal. Without rows ``empty`` is said instead.

    Args:
        headers: One word a column.
        rows: Their cells.
        empty: What to say on stderr when there are no rows.
        wrap: Continue the last column's text on further lines instead of cutting it.
        keep: A column that is never cut, as people copy it.
    """
    if not rows:
        note(empty or "nothing to show")
        return
    widths = fit(headers, rows, _width(), keep)
    right = [all(_is_number(row[place]) for row in rows) for place in range(len(headers))]
    for line in (headers, *rows):
        last = textwrap.wrap(str(line[-1]), widths[-1]) if wrap else [str(line[-1])]
        _print_row([*line[:-1], *last[:1]], widths, right)
        for more in last[1:]:
            click.echo(" " * (sum(widths[:-1]) + _GAP * (len(widths) - 1)) + more)


def _print_row(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> None:
    shown = (
        _cell(str(text), width, to_right=flush)
        for text, width, flush in zip(cells, widths, right, strict=False)
    )
    click.echo((" " * _GAP).join(shown).rstrip())


def fit(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int, keep: int | None = None
) -> list[int]:
    """Return column widths whose sum with gaps fits ``width``: the widest but ``keep`` give way."""
    widths = [
        max(len(str(line[place])) for line in (headers, *rows)) for place in range(len(headers))
    ]
    yielding = [place for place in range(len(widths)) if place != keep]
    while sum(widths) + _GAP * (len(widths) - 1) > width:
        widest = max(yielding, key=lambda place: widths[place], default=None)
        if widest is None or widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
    return widths


def _cell(text: str, width: int, *, to_right: bool) -> str:
    shown = text if len(text) <= width else text[: max(width - 1, 0)] + "…"
    padded = f"{shown:>{width}}" if to_right else f"{shown:<{width}}"
    colour = _COLOURS.get(text)
    return click.style(padded, fg=colour) if colour else padded


def _is_number(text: str) -> bool:
    first = str(text).split(" ")[0].rstrip("%")
    try:
        float(first or "0")
    except ValueError:
        return first == "-"
    return True


def _width() -> int:
    return max(MIN_WIDTH, shutil.get_terminal_size((MIN_WIDTH, 24)).columns)


def _colour() -> bool | None:
    context = click.get_current_context(silent=True)
    if context is not None:
        return context.color
    return False if os.environ.get("NO_COLOR") or not sys.stderr.isatty() else None
