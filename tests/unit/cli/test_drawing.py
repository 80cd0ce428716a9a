"""Drawings of causal graphs: their text is what others wrote, and must stay text."""

import re
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.hlc import Stamp
from qallow_agent.cli.drawing import dot, svg
from qallow_agent.jobs.causality import Graph, Node

SVG = "{http://www.w3.org/2000/svg}"
EVIL = '"];\n evil [label="</title><script>alert(1)</script>&\\'


def parsed(drawing: str) -> ET.Element:
    return ET.fromstring(drawing)  # noqa: S314 - we drew it


def chain(count: int, label: str = "step") -> Graph:
    nodes = tuple(
        Node(f"n{at}", "checkpoint", Stamp(1_700_000_000_000 + at, at), f"{label} {at}", "detail")
        for at in range(count)
    )
    steps = [(f"n{at}", f"n{at + 1}") for at in range(count - 1)]
    return Graph(nodes, tuple([*steps, ("n0", f"n{count - 1}")] if count > 2 else steps))


def test_the_dot_of_a_small_graph() -> None:
    assert dot(chain(2), "job-a") == (
        'digraph "job-a" {\n'
        "  node [shape=box, style=rounded, fontsize=10];\n"
        '  "n0" [label="step 0\\ndetail\\n22:13:20.000+0", color="#4338ca"];\n'
        '  "n1" [label="step 1\\ndetail\\n22:13:20.001+1", color="#4338ca"];\n'
        '  "n0" -> "n1";\n'
        "}\n"
    )


def test_a_hostile_name_stays_a_name_in_dot() -> None:
    lines = dot(chain(2, EVIL), EVIL).splitlines()
    assert len(lines) == 6
    for line in lines[2:4]:
        bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
        assert bare.strip() == "[label=, color=];"


def test_a_hostile_name_stays_text_in_svg() -> None:
    root = parsed(svg(chain(3, EVIL), EVIL))
    assert not list(root.iter(f"{SVG}script"))
    titles = [each.text or "" for each in root.iter(f"{SVG}title")]
    assert all("<script>" in each for each in titles)


def test_a_drawing_says_what_it_is_to_those_who_cannot_see_it() -> None:
    root = parsed(svg(chain(3), "job-a"))
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "title desc"
    assert root.findtext(f"{SVG}title") == "job-a"
    assert "3 events from step 0 to step 2" in (root.findtext(f"{SVG}desc") or "")


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 14))
    nodes = tuple(
        Node(f"n{at}", "granted", Stamp(at, 0), draw(st.text(max_size=80)), draw(st.text()))
        for at in range(count)
    )
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=25)) if pairs else []
    return Graph(nodes, tuple((f"n{a}", f"n{b}") for a, b in chosen))


@settings(deadline=None, max_examples=60)
@given(graphs(), st.text())
def test_boxes_never_overlap_and_every_edge_is_drawn_downwards(graph: Graph, title: str) -> None:
    root = parsed(svg(graph, title))
    boxes = [
        tuple(float(each.get(name, "0")) for name in ("x", "y", "width", "height"))
        for group in root.iter(f"{SVG}g")
        for each in group.iter(f"{SVG}rect")
    ]
    assert len(boxes) == len(graph.nodes)
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    for place, (x, y, w, h) in enumerate(boxes):
        assert x >= 0
        assert x + w <= width
        assert y + h <= height
        for x2, y2, w2, h2 in boxes[:place]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
    lines = [each for each in root.iter(f"{SVG}path") if each.get("marker-end")]
    assert len(lines) == len(graph.edges)
    for group in root.iter(f"{SVG}g"):
        assert all(len(text.text or "") <= 30 for text in group.iter(f"{SVG}text"))
