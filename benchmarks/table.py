"""From figures to tables: medians with their spread, ratios to the peers, targets."""

import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from peers.scaling import COUNTS

Figures = Mapping[str, Mapping[str, Sequence[float]]]
"""Measurement -> peer -> one value a round."""

OURS = "qallow"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        key: The measurement.
        label: For people, with its unit.
        ours: The measurement of ours that its ratios use; default the same.
        theirs: The measurement of the peers that its ratios use; default the same.
    """

    key: str
    label: str
    ours: str = ""
    theirs: str = ""


ROWS = (
    Row("trip_p50", "empty task, one at a time, p50, us"),
    Row("trip_p99", "the same, p99, us"),
    Row("tick_trip_p50", "elasticity, 1 tick, one at a time, p50, us", theirs="trip_p50"),
    Row("tick_trip_p99", "the same, p99, us", theirs="trip_p99"),
    Row("submit", "empty tasks/s, one by one, 2 runners"),
    Row("tick_submit", "elasticity, 1 tick, tasks/s one by one", theirs="submit"),
    Row("map", "empty tasks/s, the library's own map"),
    Row("tick_map", "elasticity, 1 tick, tasks/s by map", theirs="map"),
    Row("batch", "empty tasks/s, 1,000 a message by hand", ours="map"),
    Row("array", "64 MiB array there and back, ms"),
    Row("array_chunks", "the same in 1 MiB messages by hand, ms", ours="array"),
    Row("across", "64 MiB array to the box next door and back, ms"),
    Row("across_chunks", "the same in 1 MiB messages by hand, ms", ours="across"),
    Row("ready", "start until ready, s"),
    Row("ready_cpu", "CPU seconds of that"),
    Row("first", "start until the first result, s"),
    Row("join", "start of a box until it and ours see each other, s"),
    Row("idle_rss", "idle: RSS of one process, MiB"),
    Row("idle_cpu", "idle: CPU of it, % of a core"),
    Row("idle_wakeups", "idle: wake-ups of it a second"),
    Row("idle_all_memory", "idle: memory (PSS) of all its processes, MiB"),
    Row("idle_all_cpu", "idle: CPU of all of them, % of a core"),
)


@dataclass(frozen=True)
class Target:
    """What we want, on medians.

    Args:
        label: What is measured.
        ours: The measurement of ours.
        most: Upper bound of it or of its ratio; None when ``least`` is given.
        least: Lower bound.
        peer: The peer it is compared with; empty for an absolute bound.
        theirs: The measurement of that peer.
        inverse: The ratio is theirs to ours: how many times faster ours is.
    """

    label: str
    ours: str
    most: float | None = None
    least: float | None = None
    peer: str = ""
    theirs: str = ""
    inverse: bool = False

    @property
    def bound(self) -> str:
        """The bound for people."""
        limit = f"<= {self.most:g}" if self.most is not None else f">= {self.least:,g}"
        return f"{limit}{'x' if self.peer else ''}"

    def met(self, value: float) -> bool:
        """Return whether a value is within the bound."""
        above = self.least is None or value >= self.least
        return above and (self.most is None or value <= self.most)


TARGETS = (
    Target("tiny task p50 / pyzmq+CURVE", "trip_p50", most=1.5, peer="curve", theirs="trip_p50"),
    Target("tiny task p99 / pyzmq+CURVE", "trip_p99", most=3, peer="curve", theirs="trip_p99"),
    Target("tiny tasks/s by submit", "submit", least=50_000),
    Target("tiny tasks/s by map", "map", least=200_000),
    Target("map / Ray's tasks one by one", "map", least=50, peer="ray", theirs="submit"),
    Target("map / Dask's tasks one by one", "map", least=300, peer="dask", theirs="submit"),
    Target("64 MiB array, time / Ray", "array", most=1, peer="ray", theirs="array"),
    Target(
        "64 MiB next door, pyzmq+CURVE / ours",
        "across",
        least=3,
        peer="curve",
        theirs="across",
        inverse=True,
    ),
    Target("start to ready, s", "ready", most=1),
    Target("start to ready, CPU s", "ready_cpu", most=0.5),
    Target("start of a box to mutual sight, s", "join", most=1),
    Target("idle agent RSS, MiB", "idle_rss", most=45),
    Target("idle agent CPU, % of a core", "idle_cpu", most=0.5),
    Target("idle agent wake-ups/s (50 for pulses + 15)", "idle_wakeups", most=65),
    Target("elasticity: 2 runners, of what 2 threads gain", "elasticity_scaling", least=0.9),
    Target("harmonic: 2 runners, of what 2 threads gain", "harmonic_scaling", least=0.9),
    Target("work that waits, 8 runners, of 8 times one", "waits_efficiency", least=0.95),
)


_WORK = (
    "Work on 1, 2, 4 and 8 runners (waits: 20 ms a task without a core, tasks/s; computes: "
    "harmonic, ticks/s), and its share of what so many runners, or the cores, could do at best:"
)


def render(figures: Figures, peers: Mapping[str, str], failures: Mapping[str, str]) -> str:
    """Return all tables as Markdown.

    Args:
        figures: What was measured.
        peers: Key and name of each peer, ours first.
        failures: Peers that failed at something, and why.
    """
    others = {peer: name for peer, name in peers.items() if peer != OURS}
    parts = [
        "Medians of the rounds (least - most):",
        _table(["measured", *peers.values()], [_line(row, figures, peers) for row in ROWS]),
        "Our median divided by the peer's (of times and memory less is better, of rates more):",
        _table(
            ["measured", *others.values()],
            [line for row in ROWS if (line := _ratios(row, figures, others))],
        ),
        "Kernels in batches, ticks/s (harmonic: of 32 pockets), called directly and by the mesh:",
        _table(["kernel", "called directly", "by the mesh", "share"], _kernels(figures)),
        _WORK,
        _table(["work", *(f"{count} runners" for count in COUNTS)], _spread(figures, peers)),
        "Targets:",
        _table(["target", "wanted", "measured", ""], _verdicts(figures)),
    ]
    if failures:
        parts.append("\n".join(f"- {peers[peer]}: {why}" for peer, why in failures.items()))
    return "\n\n".join(parts) + "\n"


def median(figures: Figures, key: str, peer: str = OURS) -> float | None:
    """Return the median of the rounds; None without any."""
    values = figures.get(key, {}).get(peer, ())
    return statistics.median(values) if values else None


def _line(row: Row, figures: Figures, peers: Iterable[str]) -> list[str]:
    return [
        row.label,
        *(_cell(figures.get(row.key, {}).get(each, ())) for each in peers),
    ]


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{_short(statistics.median(values))} ({_short(min(values))}-{_short(max(values))})"


def _short(value: float) -> str:
    """Return three digits, of large numbers with a letter for the power of a thousand."""
    for least, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= least:
            return f"{float(f'{value / unit:.3g}'):g}{letter}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratios(row: Row, figures: Figures, peers: Iterable[str]) -> list[str] | None:
    ours = median(figures, row.ours or row.key)
    if ours is None:
        return None
    cells: list[str] = []
    for peer in peers:
        theirs = median(figures, row.theirs or row.key, peer)
        cells.append(f"{_short(ours / theirs)}x" if theirs else "-")
    if set(cells) == {"-"}:
        return None
    return [row.label, *cells]


def _kernels(figures: Figures) -> list[list[str]]:
    lines: list[list[str]] = []
    for kernel in ("elasticity", "harmonic"):
        for count, what in ((1, "one core"), (2, "two cores")):
            direct = median(figures, f"{kernel}_direct{count}")
            mesh = median(figures, f"{kernel}_mesh{count}")
            if direct and mesh:
                spread = [
                    _cell(figures[f"{kernel}_{way}{count}"][OURS]) for way in ("direct", "mesh")
                ]
                lines.append([f"{kernel}, {what}", *spread, f"{mesh / direct:.2f}"])
    return lines


def _spread(figures: Figures, peers: Mapping[str, str]) -> list[list[str]]:
    lines: list[list[str]] = []
    for what in ("waits", "computes"):
        for peer, name in peers.items():
            rates = [median(figures, f"scaling_{what}_{count}", peer) for count in COUNTS]
            if rates[0] is None or None in rates:
                continue
            cells = [
                f"{_short(rate)} ({rate / (rates[0] * _most(what, count)):.2f})"
                for count, rate in zip(COUNTS, rates, strict=True)
                if rate is not None
            ]
            lines.append([f"{what}, {name}", *cells])
    return lines


def _most(what: str, runners: int) -> int:
    """Return how many times one runner's work so many can do at best."""
    return runners if what == "waits" else min(runners, len(os.sched_getaffinity(0)))


def _scaling(figures: Figures, kernel: str) -> float | None:
    """Return the gain by a second runner over the gain by a second thread, called directly."""
    ways = ("mesh2", "mesh1", "direct2", "direct1")
    mesh2, mesh1, direct2, direct1 = (median(figures, f"{kernel}_{way}") for way in ways)
    if not (mesh2 and mesh1 and direct2 and direct1):
        return None
    return (mesh2 / mesh1) / (direct2 / direct1)


def _measured(target: Target, figures: Figures) -> float | None:
    if target.ours.endswith("_scaling"):
        return _scaling(figures, target.ours.removesuffix("_scaling"))
    if target.ours == "waits_efficiency":
        one, eight = (median(figures, f"scaling_waits_{count}") for count in (1, 8))
        return eight / (8 * one) if one and eight else None
    ours = median(figures, target.ours)
    if ours is None or not target.peer:
        return ours
    theirs = median(figures, target.theirs, target.peer)
    if not theirs:
        return None
    return theirs / ours if target.inverse else ours / theirs


def _verdicts(figures: Figures) -> list[list[str]]:
    lines: list[list[str]] = []
    for target in TARGETS:
        value = _measured(target, figures)
        if value is None:
            lines.append([target.label, target.bound, "-", "not measured"])
        else:
            suffix = "x" if target.peer else ""
            verdict = "met" if target.met(value) else "missed"
            lines.append([target.label, target.bound, _short(value) + suffix, verdict])
    return lines


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    rows = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in (head, *lines)
    ]
    return "\n".join(
        [rows[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rows[1:]]
    )
