"""``explain --graph``: the causal graph of a job, for people and for other tools."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from qallow_agent.base.errors import StorageError, UsageError
from qallow_agent.cli.drawing import dot, svg
from qallow_agent.cli.output import emit, note
from qallow_agent.jobs.causality import folded, graph_of

SCHEMA = "qallow.graph/v1"


def print_graph(
    document: Mapping[str, Any], form: str | None, output: Path | None, *, as_json: bool
) -> None:
    """Print a job's graph, or write it to a file.

    Args:
        document: What the agent explains.
        form: ``dot`` or ``svg``; None to go by the file's name.
        output: The file; None to print.
        as_json: Print nodes and edges instead.

    Raises:
        UsageError: It is no job that was explained.
        StorageError: The file cannot be written.
    """
    found = document.get("graph")
    if not isinstance(found, Mapping):
        raise UsageError("only jobs have a causal graph", hint="name a job")
    if as_json:
        emit(SCHEMA, {"job": document.get("job"), **found})
        return
    drawn_as_svg = form == "svg" or (form is None and output and output.suffix == ".svg")
    draw = svg if drawn_as_svg else dot
    title = f"{document.get('job')}: {document.get('kernel')}, {document.get('state')}"
    drawing = draw(folded(graph_of(found)), title)
    if output is None:
        click.echo(drawing, nl=False)
        return
    try:
        output.write_text(drawing)
    except OSError as error:
        why = f"{output} cannot be written: {error.strerror}"
        raise StorageError(why, hint="free space, or write elsewhere") from error
    note(f"wrote {output}")
