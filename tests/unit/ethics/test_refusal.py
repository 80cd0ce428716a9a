"""Refusals: they name the culprit first, and what they suggest works."""

import msgspec
import pytest

from qallow_agent.base.errors import Malformed, TooLarge
from qallow_agent.ethics.evidence import Evidence, Item
from qallow_agent.ethics.examples import START_MS, comfortable, example
from qallow_agent.ethics.gate import Admission, Gate
from qallow_agent.ethics.policy import Override, Policy, overridable, preset
from qallow_agent.ethics.refusal import (
    Elsewhere,
    Position,
    Refusal,
    decode_refusal,
    document,
    encode_refusal,
    refuse,
    text,
)
from qallow_agent.ethics.score import score
from qallow_agent.ethics.signals import OPERATORS, SCORED, SIGNALS, UNSKIPPABLE, Signal
from qallow_agent.ethics.targets import Target, targets

DESKTOP = preset("desktop")
BLIND = ("s1", "s2", "s.power", "s.temperature", "c1.cpu", "c1.io", "c1.memory", "c5")
RAMPED = [each for each in SCORED if each.role == "signal"]


def refused(evidence: Evidence, policy: Policy = DESKTOP, **more: object) -> Refusal:
    found = score(evidence, policy, START_MS)
    verdict = Gate(policy.threshold).judge("cpu0", found, 0.0)
    assert verdict.admission is not Admission.ADMIT
    return refuse(evidence, found, policy, verdict, **more)


def after(evidence: Evidence, targets: tuple[Target, ...]) -> Evidence:
    """Return evidence in which every target is reached, and not a millionth more."""
    fresh: list[Item] = []
    for each in targets:
        if each.value is not None:
            unit = SIGNALS[each.signal].unit
            fresh.append(Item(each.signal, each.value, unit, START_MS, "test"))
        elif each.signal == "s0":
            fresh += [example("s.power", 60), example("s.temperature", 60)]
        elif each.signal == "c0":
            fresh.append(example("c5", 0.001))
        else:
            fresh.append(example("h.fresh", 1))
    return Evidence("nano1", "cpu0", "j", START_MS, (*fresh, *evidence.items))


@pytest.mark.parametrize("share", [0, 500, 850])
@pytest.mark.parametrize("signal", RAMPED, ids=lambda each: each.id)
def test_a_signal_that_is_bad_alone_is_named_first_and_the_fix_helps(
    signal: Signal, share: int
) -> None:
    assert signal.bad is not None
    assert signal.good is not None
    value = signal.bad + (signal.good - signal.bad) * share // 1000
    bad = Item(signal.id, value, signal.unit, START_MS, "test")
    evidence = Evidence("nano1", "cpu0", "j", START_MS, (bad, *comfortable().items))
    refusal = refused(evidence)
    assert refusal.causes[0].signal == signal.id
    assert refusal.target is not None
    assert refusal.target.signal == signal.id
    assert f" {signal.id} {signal.name}:" in next(
        line for line in text(refusal).splitlines() if line.startswith("  ") and "." in line[:8]
    )
    assert score(after(evidence, refusal.targets), DESKTOP, START_MS).e >= refusal.needed >= 2900
    if signal.id in (*UNSKIPPABLE, *OPERATORS):
        assert (refusal.override, refusal.overrides) == ("", ())
    else:
        assert refusal.overrides == (signal.id,)
        lifted = Policy(overrides=(Override(refusal.override, START_MS + 7_200_000),))
        assert score(evidence, lifted, START_MS).e >= refusal.needed


@pytest.mark.parametrize("signal", RAMPED, ids=lambda each: each.id)
def test_a_signal_that_is_good_refuses_nothing(signal: Signal) -> None:
    evidence = comfortable({signal.id: (signal.good or 0) / 1_000_000})
    assert Gate().judge("d", score(evidence, DESKTOP, START_MS), 0.0).admission is Admission.ADMIT


def test_blindness_in_all_three_names_the_ceilings_and_measuring_helps() -> None:
    evidence = comfortable({"h.fresh": 0}, without=BLIND)
    refusal = refused(evidence)
    assert [each.signal for each in refusal.causes] == ["s0", "c0", "h0"]
    assert refusal.targets == (Target("s0", None),)
    assert score(after(evidence, refusal.targets), DESKTOP, START_MS).e == 2900
    assert refusal.overrides == ()
    assert "no reading of power and none of temperature" in " ".join(text(refusal).split())


def test_as_few_targets_as_can_be_the_worst_first() -> None:
    refusal = refused(comfortable({"s1": 0.05, "c3": 0.45, "h1": 0.006}))
    assert [each.component for each in refusal.causes] == ["c", "s", "h"]
    assert [each.signal for each in refusal.targets] == ["c3", "s1"]


def test_a_person_reads_what_where_why_and_what_to_do_in_eighty_columns() -> None:
    refusal = refused(
        comfortable({"c3": 0.47}),
        slopes={"c3": -4_000},
        elsewhere=(Elsewhere("nano2", "cpu0", 2981, 3200),),
        ledger=Position("qallow.example/nano1", 1245),
    )
    assert text(refusal) == (
        "job-6lq2 was refused on nano1/cpu0: E 2.120 is 0.810 short of 2.930, 0.030 above\n"
        "  the threshold to reopen.\n"
        "  C 0.120  c3 CPU use by others: 47 %; comfortable at 25 %, limit 50 %\n"
        "              measured by psutil\n"
        "  S 1.000  sustainability: comfortable\n"
        "  H 1.000  harmony: comfortable\n"
        "What gets it admitted, the cheapest first:\n"
        "  1. run it on nano2/cpu0: E 2.981, 3.2 ms further away\n"
        "  2. wait about 50.6 s, at the present trend, until c3 is at most 26.75 %\n"
        "  3. close other programs on the box, or run this when they rest\n"
        "  4. as the owner of nano1, override it for a while:\n"
        "     qallow-agent policy override c3 --for 2h\n"
        "Logged as entry 1245 of qallow.example/nano1."
    )


def test_no_line_is_wider_than_a_terminal() -> None:
    everything = {each.id: (each.bad or 0) / 1_000_000 for each in RAMPED}
    refusal = refused(comfortable(dict(everything), job="job-" + "x" * 26))
    assert max(len(line) for line in text(refusal).splitlines()) <= 80


def test_the_document_has_the_members_of_a_problem_and_the_numbers_in_their_units() -> None:
    found = document(refused(comfortable({"h1": 0.03}), ledger=Position("o", 7)))
    assert found["type"] == "urn:qallow:refused:h1"
    assert (found["title"], found["status"]) == ("Refused: clock", 503)
    assert found["detail"].startswith("job-6lq2 was refused on nano1/cpu0: E 2.444")
    assert found["instance"] == "urn:qallow:job:job-6lq2"
    assert found["shortfall"] == 0.486
    assert found["components"][0]["measured"] == 0.03
    assert found["components"][0]["limit"] == 0.05
    assert found["targets"][0]["text"] == "h1 is at most 8.15 ms"
    assert found["ledger"] == {"origin": "o", "index": 7}


@pytest.mark.parametrize(
    ("signal", "value", "code"),
    [("c6", 0, 77), ("c7", 0, 77), ("c8", 0, 77), ("h3", 0, 75), ("h5", 0, 75),
     ("s2.shutdown", 1, 75), ("c3", 0.5, 75)],
)  # fmt: skip
def test_only_what_somebody_forbids_is_not_allowed(signal: str, value: float, code: int) -> None:
    refusal = refused(comfortable({signal: value}))
    assert refusal.exit_code == code
    assert document(refusal)["status"] == (403 if code == 77 else 503)


def test_nobody_is_told_to_override_a_pause() -> None:
    refusal = refused(comfortable({"c8": 0, "c3": 0.5}))
    assert (refusal.overrides, refusal.code) == ((), "stopped")
    assert [each.kind for each in refusal.fixes if each.kind == "override"] == []
    assert "qallow-agent resume" in text(refusal)
    assert not overridable("c8")


def test_what_is_closed_by_its_past_only_waits() -> None:
    gate, well = Gate(), score(comfortable(), DESKTOP, START_MS)
    gate.judge("d", score(comfortable({"c8": 0}), DESKTOP, START_MS), 0.0)
    refusal = refuse(comfortable(), well, DESKTOP, gate.judge("d", well, 1.0))
    assert (refusal.code, refusal.targets, refusal.target) == ("deferred", (), None)
    assert [(each.kind, each.wait_s) for each in refusal.fixes] == [("wait", 5.0)]
    assert document(refusal)["type"] == "urn:qallow:deferred:reopening"
    assert "has to hold" in text(refusal)


@pytest.mark.parametrize(
    ("slopes", "words"),
    [({}, "no trend is known"), ({"c3": 4_000}, "does not lead there"),
     ({"c3": -1}, "does not lead there"), ({"c3": -100_000}, "wait about 2.02 s")],
)  # fmt: skip
def test_waiting_is_judged_by_the_trend(slopes: dict[str, int], words: str) -> None:
    waits = [
        each.text
        for each in refused(comfortable({"c3": 0.47}), slopes=slopes).fixes
        if each.kind == "wait"
    ]
    assert len(waits) == 1
    assert words in waits[0]


def test_an_unknown_consent_says_why_it_is_unknown() -> None:
    shown = text(refused(comfortable({"c6": None})))
    assert "the owner does not consent" in shown
    assert "by word of policy: no sensor answered" in shown


def test_a_device_judged_for_nobody_is_named_without_a_job() -> None:
    shown = text(refused(comfortable({"s1": 0.0}, job="")))
    assert shown.startswith("nano1/cpu0 takes no work: E 2.000 is")


def test_the_commands_of_a_fix_fit_into_one_line_for_a_shell() -> None:
    refusal = refused(comfortable({"s1": 0.05, "c3": 0.45}))
    assert [each.command for each in refusal.fixes if each.kind == "override"] == [
        "qallow-agent policy override c3 --for 2h && qallow-agent policy override s1 --for 2h"
    ]


def test_a_threshold_out_of_reach_asks_for_all_there_is() -> None:
    found = score(comfortable({"c3": 0.3}), DESKTOP, START_MS)
    assert targets(found, DESKTOP, 3001) == (Target("c3", 250_000, rising=False),)


def test_a_refusal_survives_the_wire() -> None:
    refusal = refused(comfortable({"c3": 0.5}), ledger=Position("o", 1))
    assert decode_refusal(encode_refusal(refusal)) == refusal


def test_bytes_that_are_no_refusal_are_the_peers_fault() -> None:
    with pytest.raises(Malformed):
        decode_refusal(b"\x90")
    with pytest.raises(TooLarge):
        decode_refusal(bytes(40_000))
    whole = refused(comfortable({"c3": 0.5}))
    with pytest.raises(Malformed, match="each component once"):
        decode_refusal(encode_refusal(msgspec.structs.replace(whole, causes=())))
