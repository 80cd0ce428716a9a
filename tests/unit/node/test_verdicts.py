"""Verdicts: one line for an advert, and the words for a device that only an advert tells of."""

from qallow_agent.base.ids import JobId
from qallow_agent.base.machine import Instant
from qallow_agent.ethics.examples import comfortable
from qallow_agent.ethics.gate import Gate, Verdict
from qallow_agent.ethics.policy import preset
from qallow_agent.ethics.refusal import Refusal, decode_refusal, encode_refusal, refuse, text
from qallow_agent.ethics.score import score
from qallow_agent.ethics.spelling import spelled
from qallow_agent.mesh.wire.gate import GateReport, GateState
from qallow_agent.node.verdicts import brief, first_fix, heard, stage_of

NOW = Instant(0.0, 1_795_000_000_000_000_000)


def judged(**changed: float) -> tuple[Refusal, Verdict]:
    policy = preset("desktop")
    evidence = comfortable(dict(changed))
    found = score(evidence, policy, evidence.at_ms)
    verdict = Gate().judge("cpu0", found, 0.0)
    return refuse(evidence, found, policy, verdict), verdict


def test_a_line_names_the_culprit_its_value_and_what_would_be_comfortable() -> None:
    refusal, verdict = judged(s2=3.0)
    assert brief(refusal).startswith("thermal margin is 3 C, comfortable from 10 C (E 2.300")
    assert first_fix(refusal)
    assert stage_of(verdict, refusal) is GateState.REFUSES


def test_a_stop_is_named_by_itself_and_waiting_does_not_help() -> None:
    refusal, verdict = judged(c8=0)
    assert brief(refusal) == "paused by the owner"
    assert "qallow-agent resume" in first_fix(refusal)
    assert stage_of(verdict, refusal) is GateState.FORBIDS


def test_what_an_advert_tells_of_a_device_becomes_a_refusal_that_peers_can_read() -> None:
    gate = GateReport(
        GateState.REFUSES, 950, 130, 1000, ("s0", "c1.cpu", ""),
        "CPU pressure on others is 36 %, comfortable from 10 %", "close other programs",
    )  # fmt: skip
    said = heard(gate, JobId("job-1"), "box2", "cpu0", 2900, NOW)
    assert decode_refusal(encode_refusal(said)) == said
    words = text(said)
    assert "job-1 was refused on box2/cpu0" in words
    assert "c1.cpu CPU pressure on others: 36 %" in words
    assert "close other programs" in words


def test_what_forbids_elsewhere_is_not_allowed_here() -> None:
    gate = GateReport(GateState.FORBIDS, 950, 0, 1000, ("s0", "c8", ""), "paused by the owner")
    said = heard(gate, JobId("job-1"), "box2", "cpu0", 2900, NOW)
    assert said.exit_code == 77
    assert "paused by the owner" in text(said)


def test_bytes_that_are_no_refusal_say_nothing() -> None:
    assert spelled(b"") == spelled(b"\xc1junk") == {}
    assert spelled(encode_refusal(judged(s2=3.0)[0]))["code"] == "refused"
