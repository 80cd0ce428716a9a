"""What a node tells of the mesh's harmony from what devices advertise."""

from qallow_agent.base.ids import NodeId
from qallow_agent.mesh.wire.gate import GateReport, GateState
from qallow_agent.node.quorum import in_harmony

NODES = tuple(NodeId(letter * 26) for letter in "abcd")


def report(h: int, culprit: str) -> GateReport:
    return GateReport(GateState.OPEN, 1_000, 1_000, h, ("s1", "c1", culprit))


def test_each_member_counts_out_of_what_its_devices_name() -> None:
    reports = {
        NODES[0]: (report(1_000, "h1"),),
        NODES[1]: (report(899, "h1"), report(950, "h4")),
        NODES[2]: (report(0, "h3"), report(500, "h4")),
    }
    assert in_harmony(NODES, reports) == (3, 3, 3)


def test_who_has_told_nothing_counts_as_in_harmony() -> None:
    assert in_harmony(NODES, {}) == (4, 4, 4)
    assert in_harmony((), {NODES[0]: (report(0, "h1"),)}) == (0, 0, 0)
