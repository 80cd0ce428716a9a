"""The causal graph of a job: what led to what, from its submission to its end.

A node stands for something that happened: the submission, a decision of placement, a lease granted
or refused or lost, an attempt, a state that was kept, a state a run went on from, the end. An edge
leads from what had to happen first. Nodes are stamped with the hybrid time at which the desk
learnt of them, and come in that order; a parent is always older than its children.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from qallow_agent.base.hlc import Stamp
from qallow_agent.jobs.model import FINAL, JobRecord
from qallow_agent.jobs.story import CORRUPT, KEPT, RESUMED, Decided, Passage, Step

SUBMITTED = "submit"
ENDED = "end"


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened.

    Args:
        id: Unique in its graph.
        kind: ``submit``, ``decision``, ``granted``, ``refused``, ``silent``, ``lost``,
            ``attempt``, ``checkpoint``, ``resumed``, ``corrupt`` or ``end``.
        stamp: When, in hybrid time.
        label: In a few words.
        detail: More of it.
        tick: Of a state.
        epoch: Of a state.
    """

    id: str
    kind: str
    stamp: Stamp
    label: str
    detail: str = ""
    tick: int = 0
    epoch: int = 0


class Graph(msgspec.Struct, frozen=True):
    """Nodes, the oldest first, and edges (parent, child)."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]


def causes(record: JobRecord, labels: Mapping[str, str] | None = None) -> Graph:
    """Return the causal graph of a job, as far as its story is remembered.

    Args:
        record: With its story.
        labels: What ``node-id/device`` is called, for people.
    """
    weaver = _Weaver(record, labels or {})
    for each in _in_order(record):
        if isinstance(each, Decided):
            weaver.decided(each)
        elif isinstance(each, Passage):
            weaver.passed(each)
        else:
            weaver.stepped(each)
    weaver.end()
    return Graph(tuple(weaver.nodes.values()), tuple(weaver.edges))


def _in_order(record: JobRecord) -> Iterable[Decided | Passage | Step]:
    story = record.story
    return sorted((*story.decisions, *story.passages, *story.steps), key=lambda each: each.stamp)


class _Weaver:
    """Finds the parents of each thing that happened, one after the other."""

    def __init__(self, record: JobRecord, labels: Mapping[str, str]) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str], None] = {}
        self._record = record
        self._labels = labels
        self._cause = SUBMITTED
        """What the next decision follows from."""
        self._decision = SUBMITTED
        self._cause_s = self._decision_s = Stamp(0, 0)
        self._last: dict[str, str] = {}
        """Lease -> the newest node of it."""
        self._loose: list[str] = []
        """Leases that were lost, whose work goes on elsewhere."""
        begun = Stamp(int(record.submitted_s * 1000), 0)
        detail = f"{record.points:,} points" if record.points != 1 else ""
        self._add(Node(SUBMITTED, SUBMITTED, begun, f"submit {record.kernel}", detail))

    def decided(self, each: Decided) -> None:
        """A decision follows from the submission, or from what was refused or lost."""
        chosen = [judged.label for judged in each.judged if judged.slots]
        detail = ", ".join(chosen) or each.reason or "nothing was chosen"
        name = f"decision:{each.stamp.wall_ms}.{each.stamp.counter}"
        plural = "" if each.wanted == 1 else "s"
        label = f"{each.wanted} runner{plural} wanted"
        self._add(Node(name, "decision", each.stamp, label, detail), self._cause)
        self._decision, self._decision_s = name, each.stamp

    def passed(self, each: Passage) -> None:
        """A grant or refusal follows from a decision, a loss from what was done under its lease."""
        name = f"{each.what}:{each.lease or each.where}:{each.stamp.wall_ms}.{each.stamp.counter}"
        where = self._labels.get(each.where, each.where)
        node = Node(name, each.what, each.stamp, f"{each.what} {where}", each.why)
        if each.what == "granted":
            # A decision that came to the same again is told once, by its first time.
            again = self._decision_s < self._cause_s
            self._add(node, self._decision, self._cause if again else "")
            self._last[each.lease] = name
        elif each.what == "lost":
            self._add(node, self._last.get(each.lease, self._decision))
            self._loose.append(name)
        else:
            self._add(node, self._decision)
        if each.what != "granted":
            self._cause, self._cause_s = name, each.stamp

    def stepped(self, each: Step) -> None:
        """A state follows from the one before and from its attempt."""
        name = f"checkpoint:{each.digest[:16]}"
        where = f"epoch {each.epoch}, tick {each.tick:,}"
        if each.what == KEPT:
            before = f"checkpoint:{each.previous[:16]}"
            newest = self._last.get(each.lease, "")
            if before not in self.nodes and newest in self.nodes:
                # Those in between were thinned out: it follows from the newest that was not.
                before = newest if self.nodes[newest].kind in {KEPT, RESUMED} else before
            first = newest != before
            node = Node(name, KEPT, each.stamp, where, each.digest[:16], each.tick, each.epoch)
            attempt = self._attempt(each) if first else ""
            going_on = attempt in self.nodes and self.nodes[attempt].kind == RESUMED
            self._add(node, attempt if going_on else before, attempt)
            self._last[each.lease] = name
            return
        place = f"{each.what}:{each.task}.{each.attempt}:{each.stamp.wall_ms}.{each.stamp.counter}"
        resumed = each.what == RESUMED
        label = f"resumed from epoch {each.epoch}" if resumed else f"corrupt: epoch {each.epoch}"
        detail = each.why or f"attempt {each.attempt}, tick {each.tick:,}"
        parents = [name, *self._loose] if resumed else [name]
        if resumed:
            self._loose = []
            parents.append(self._last.get(each.lease, ""))
            self._last[each.lease] = place
        node = Node(place, each.what, each.stamp, label, detail, each.tick, each.epoch)
        self._add(node, *parents)
        if each.what == CORRUPT and not each.digest:
            self._link(self._last.get(each.lease, self._decision), place)

    def end(self) -> None:
        """The end follows from the newest node of every lease."""
        record = self._record
        if record.state not in FINAL:
            return
        stamp = max(Stamp(int(record.ended_s * 1000), 0), _after(self.nodes))
        tips = [each for each in self._last.values() if not self._superseded(each)]
        node = Node(ENDED, ENDED, stamp, record.state.value, record.error)
        self._add(node, *(tips or [self._decision]))

    def _superseded(self, name: str) -> bool:
        return any(parent == name for parent, _ in self.edges)

    def _attempt(self, each: Step) -> str:
        name = f"attempt:{each.lease}/{each.task}.{each.attempt}"
        grant = self._last.get(each.lease, self._decision)
        if name not in self.nodes and grant in self.nodes:
            if self.nodes[grant].kind == RESUMED:
                return grant
            self._add(Node(name, "attempt", each.stamp, f"attempt {each.attempt}"), grant)
        return name

    def _add(self, node: Node, *parents: str) -> None:
        self.nodes[node.id] = node
        for parent in parents:
            self._link(parent, node.id)

    def _link(self, parent: str, child: str) -> None:
        """Draw an edge, unless what it leads from was forgotten or is the child itself."""
        if parent in self.nodes and child in self.nodes and parent != child:
            self.edges[parent, child] = None


def _after(nodes: Mapping[str, Node]) -> Stamp:
    newest = max(node.stamp for node in nodes.values())
    return Stamp(newest.wall_ms, newest.counter + 1)


def folded(graph: Graph, ends: int = 2) -> Graph:
    """Return a graph in which long chains of states show their ends, and one node for the rest.

    Args:
        graph: As it is.
        ends: States to show at either end of a chain.
    """
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for parent, child in graph.edges:
        above.setdefault(child, []).append(parent)
        below.setdefault(parent, []).append(child)
    nodes = {node.id: node for node in graph.nodes}
    chains: dict[str, list[str]] = {}
    first_of: dict[str, str] = {}
    for node in graph.nodes:
        if node.kind != KEPT:
            continue
        parents = above.get(node.id, [])
        first = first_of.get(parents[0]) if len(parents) == 1 else None
        if first is None or len(below[parents[0]]) > 1:
            first = node.id
        first_of[node.id] = first
        chains.setdefault(first, []).append(node.id)
    into: dict[str, str] = {}
    for chain in chains.values():
        inner = chain[ends:-ends]
        if len(inner) > 1:
            begun, last = nodes[inner[0]], nodes[inner[-1]]
            label, detail = f"{len(inner)} checkpoints", f"epochs {begun.epoch} to {last.epoch}"
            nodes[begun.id] = Node(begun.id, KEPT, last.stamp, label, detail, last.tick, last.epoch)
            into |= dict.fromkeys(inner, begun.id)
    edges = {(into.get(a, a), into.get(b, b)): None for a, b in graph.edges}
    shown = tuple(nodes[node.id] for node in graph.nodes if into.get(node.id, node.id) == node.id)
    return Graph(shown, tuple((a, b) for a, b in edges if a != b))


def document(graph: Graph) -> dict[str, Any]:
    """Return a graph as JSON-shaped nodes and edges."""
    nodes = [msgspec.to_builtins(node) | {"hlc": show(node.stamp)} for node in graph.nodes]
    return {"nodes": nodes, "edges": [list(edge) for edge in graph.edges]}


def graph_of(found: Mapping[str, Any]) -> Graph:
    """Return the graph that :func:`document` described."""
    nodes = msgspec.convert(
        [{key: value for key, value in node.items() if key != "hlc"} for node in found["nodes"]],
        tuple[Node, ...],
    )
    return Graph(nodes, msgspec.convert(found["edges"], tuple[tuple[str, str], ...]))


def show(stamp: Stamp) -> str:
    """Return hybrid time as people read it: milliseconds since 1970 and the counter."""
    return f"{stamp.wall_ms}+{stamp.counter}"
