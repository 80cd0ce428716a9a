"""Drawings of causal graphs: DOT for other tools, SVG by a small layered layout of our own.

The layout: every node lies one layer below its lowest parent; an edge over several layers passes
through a gap in each; within a layer nodes are ordered by where their neighbours lie.

Source: Sugiyama, Tagawa, Toda, "Methods for Visual Understanding of Hierarchical System Structures"
(1981), with the barycentre heuristic.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final
from xml.sax.saxutils import escape

from qallow_agent.jobs.causality import Graph, Node

_MOST_CHARS: Final = 30
_BOX_W, _BOX_H, _GAP_W, _GAP_H, _BEND_W, _MARGIN = 236, 62, 28, 46, 24, 28
_TITLE_H: Final = 56
_HEAD: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
    'height="{height}" role="img" aria-labelledby="title desc" '
    'font-family="system-ui, sans-serif">'
)
_ARROW: Final = (
    '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
    'markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="#71717a"/></marker></defs>'
)
_TITLE: Final = '<text x="{x}" y="34" font-size="17" font-weight="600" fill="#18181b">{text}</text>'
_SWEEPS: Final = 6

_LOOKS: Final[Mapping[str, tuple[str, str]]] = {
    "submit": ("#e8f0fe", "#1a56c4"), "decision": ("#f4f4f5", "#52525b"),
    "granted": ("#e7f6ec", "#17733a"), "refused": ("#fdf3e1", "#945a00"),
    "silent": ("#fdf3e1", "#945a00"), "lost": ("#fdeaea", "#b32020"),
    "attempt": ("#f4f4f5", "#52525b"), "checkpoint": ("#eef2ff", "#4338ca"),
    "resumed": ("#e7f6ec", "#17733a"), "corrupt": ("#fdeaea", "#b32020"),
    "end": ("#e8f0fe", "#1a56c4"),
}  # fmt: skip
"""Kind -> fill and line: the line keeps a contrast of 4.5 with its fill and with white."""


def clock(node: Node) -> str:
    """Return a node's hybrid time in UTC: time of day, milliseconds and counter."""
    seconds, milliseconds = divmod(node.stamp.wall_ms, 1000)
    told = time.strftime("%H:%M:%S", time.gmtime(seconds))
    return f"{told}.{milliseconds:03d}+{node.stamp.counter}"


def dot(graph: Graph, title: str) -> str:
    """Return a graph in the language of Graphviz; names of others are quoted, never interpreted."""
    lines = [f"digraph {_quoted(title)} {{", "  node [shape=box, style=rounded, fontsize=10];"]
    for node in graph.nodes:
        label = "\\n".join(_inner(part) for part in (node.label, node.detail, clock(node)) if part)
        _, line = _LOOKS.get(node.kind, ("", "#52525b"))
        lines.append(f'  {_quoted(node.id)} [label="{label}", color="{line}"];')
    lines += [f"  {_quoted(parent)} -> {_quoted(child)};" for parent, child in graph.edges]
    return "\n".join((*lines, "}")) + "\n"


def _quoted(text: str) -> str:
    return f'"{_inner(text)}"'


def _inner(text: str) -> str:
    plain = "".join(each if each.isprintable() else " " for each in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"')


@dataclass(slots=True)
class _Spot:
    """A node, or the gap an edge passes through, with its place."""

    node: Node | None
    layer: int
    above: list["_Spot"] = field(default_factory=list)
    below: list["_Spot"] = field(default_factory=list)
    x: float = 0.0

    @property
    def width(self) -> int:
        return _BEND_W if self.node is None else _BOX_W


def svg(graph: Graph, title: str) -> str:
    """Return a graph as a well-formed SVG document with a title and a description for readers."""
    spots, chains = _spots(graph)
    layers = _ordered(spots)
    width = max(_place(layers), 420)
    height = _TITLE_H + len(layers) * (_BOX_H + _GAP_H) - _GAP_H + _MARGIN
    about = f"{len(graph.nodes)} events from {graph.nodes[0].label} to {graph.nodes[-1].label}"
    parts = [
        _HEAD.format(width=f"{width:.0f}", height=height),
        f'<title id="title">{_text(title)}</title>',
        f'<desc id="desc">{_text(about)}; arrows lead from causes to effects</desc>',
        _ARROW,
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        _TITLE.format(x=_MARGIN, text=_text(_cut(title, int(width / 10)))),
    ]
    parts += [_line(chain) for chain in chains]
    parts += [_box(spot, spot.node) for layer in layers for spot in layer if spot.node is not None]
    return "\n".join((*parts, "</svg>")) + "\n"


def _spots(graph: Graph) -> tuple[list[_Spot], list[list[_Spot]]]:
    """Return every node and gap, and the chain of spots that each edge passes."""
    parents: dict[str, list[str]] = {node.id: [] for node in graph.nodes}
    for parent, child in graph.edges:
        parents[child].append(parent)
    found: dict[str, _Spot] = {}
    for node in graph.nodes:  # parents come before their children
        lowest = max((found[each].layer for each in parents[node.id] if each in found), default=-1)
        found[node.id] = _Spot(node, lowest + 1)
    spots = list(found.values())
    chains = []
    for parent, child in graph.edges:
        first, last = found[parent], found[child]
        chain = [first, *(_Spot(None, at) for at in range(first.layer + 1, last.layer)), last]
        for upper, lower in pairwise(chain):
            upper.below.append(lower)
            lower.above.append(upper)
        spots += chain[1:-1]
        chains.append(chain)
    return spots, chains


def _ordered(spots: list[_Spot]) -> list[list[_Spot]]:
    """Return the spots by layer, each layer ordered by where its neighbours lie."""
    layers: list[list[_Spot]] = [[] for _ in range(1 + max(spot.layer for spot in spots))]
    for spot in spots:
        layers[spot.layer].append(spot)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            _number(layers)
            layer.sort(key=lambda spot: _middle(spot.above if down else spot.below, spot.x))
    return layers


def _number(layers: list[list[_Spot]]) -> None:
    for layer in layers:
        for place, spot in enumerate(layer):
            spot.x = place - len(layer) / 2


def _middle(neighbours: list[_Spot], otherwise: float) -> float:
    if not neighbours:
        return otherwise
    return sum(spot.x for spot in neighbours) / len(neighbours)


def _place(layers: list[list[_Spot]]) -> float:
    """Give every spot its place from left to right; return the width of the whole."""
    spans = [sum(spot.width + _GAP_W for spot in layer) - _GAP_W for layer in layers]
    width = max(spans) + 2 * _MARGIN
    for layer, span in zip(layers, spans, strict=True):
        at = (max(width, 420) - span) / 2
        for spot in layer:
            spot.x = at + spot.width / 2
            at += spot.width + _GAP_W
    return width


def _top(layer: int) -> float:
    return _TITLE_H + layer * (_BOX_H + _GAP_H)


def _line(chain: list[_Spot]) -> str:
    first = chain[0]
    path = f"M{first.x:.1f} {_top(first.layer) + _BOX_H}"
    for spot in chain[1:]:
        above, top = _top(spot.layer) - _GAP_H, _top(spot.layer)
        bend = _GAP_H / 2
        path += f"C{_before(chain, spot):.1f} {above + bend} {spot.x:.1f} {top - bend} "
        path += f"{spot.x:.1f} {top - 2 if spot.node else top}"
        if spot.node is None:
            path += f"V{top + _BOX_H}"
    return f'<path d="{path}" fill="none" stroke="#71717a" marker-end="url(#tip)"/>'


def _before(chain: list[_Spot], spot: _Spot) -> float:
    return chain[spot.layer - chain[0].layer - 1].x


def _box(spot: _Spot, node: Node) -> str:
    fill, line = _LOOKS.get(node.kind, ("#f4f4f5", "#52525b"))
    left, top = spot.x - _BOX_W / 2, _top(spot.layer)
    whole = "; ".join(part for part in (node.label, node.detail, clock(node)) if part)
    rows = [
        (20, 13, line, "600", node.label),
        (37, 11, "#3f3f46", "400", node.detail),
        (53, 10, "#52525b", "400", clock(node)),
    ]
    lines = "".join(
        f'<text x="{spot.x:.1f}" y="{top + down:.1f}" font-size="{size}" fill="{ink}" '
        f'font-weight="{weight}" text-anchor="middle">'
        f"{_text(_cut(text, _MOST_CHARS * 13 // (size + 2)))}</text>"
        for down, size, ink, weight, text in rows
        if text
    )
    return (
        f'<g><title>{_text(whole)}</title><rect x="{left:.1f}" y="{top:.1f}" width="{_BOX_W}" '
        f'height="{_BOX_H}" rx="9" fill="{fill}" stroke="{line}"/>{lines}</g>'
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _text(text: str) -> str:
    """Return text that XML can carry: markup escaped, what is no character replaced."""
    return escape("".join(each if each.isprintable() else " " for each in text))
