import pytest

from qallow_agent.base.canonical import canonical
from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import NodeId
from qallow_agent.cli.bodies import DECODERS, decoded
from qallow_agent.ethics.charter import RECORD
from qallow_agent.ethics.gate import Admission, Running
from qallow_agent.ethics.records import DecisionRecord, pack
from qallow_agent.ledger.leaf import Leaf, LeafKind
from qallow_agent.ledger.statement import Statement


def shown(kind: LeafKind, body: bytes) -> dict[str, object]:
    return dict(decoded(Leaf(kind, NodeId("a" * 26), Stamp(1, 0), 0, 1, bytes(32), body)))


def record(admission: Admission, s: int) -> bytes:
    return pack(
        DecisionRecord(
            b"j" * 8, b"d" * 4, 7, s, 900, 1_000, admission, Running.NORMAL, (0, 0, 0), b"e" * 12
        )
    )


def test_decisions_are_counted_by_verdict_with_the_lowest_score() -> None:
    batch = record(Admission.ADMIT, 1_000) + record(Admission.REFUSE, 500)
    assert shown(LeafKind.DECISIONS, bytes(8) + batch) == {
        "decisions": 2, "admit": 1, "refuse": 1, "lowest_e": 2.4,
    }  # fmt: skip


def test_a_change_of_what_a_node_may_do_is_spelled_out() -> None:
    said = {"what": "pause", "mesh": b"m" * 32, "subject": {"why": "a call", "ends": [1]}}
    found = shown(LeafKind.OVERRIDE, canonical(RECORD, said))
    assert found == said | {"mesh": (b"m" * 32).hex()}


def test_a_committee_is_named_by_its_version_and_manifest() -> None:
    body = (3).to_bytes(8) + b"m" * 32
    assert shown(LeafKind.MEMBERSHIP, body) == {"committee": 3, "manifest": (b"m" * 32).hex()}


def test_an_epoch_statement_is_spelled_out() -> None:
    said = Statement(4, 0, 3, 3, 2, 3, bytes(32), bytes(32), 5, 6)
    found = shown(LeafKind.EPOCH, said.encode())
    assert (found["audits"], found["members"], found["policy_ok"]) == (4, 3, 2)


@pytest.mark.parametrize("kind", [*DECODERS])
@pytest.mark.parametrize("body", [b"", b"junk", b"\xff" * 88])
def test_a_body_that_is_none_is_shown_with_what_is_wrong(kind: LeafKind, body: bytes) -> None:
    assert {"error", "hex"} == set(shown(kind, body))


def test_what_nobody_decodes_is_shown_in_hexadecimal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(DECODERS, LeafKind.RECEIPT)
    assert shown(LeafKind.RECEIPT, b"r" * 65)["hex"] == "72" * 64 + "..."
