"""``explain`` on the command line: what it asks, and what people read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.base.ids import Sender
from qallow_agent.base.message import Message, Report
from qallow_agent.cli.main import main
from qallow_agent.node.commands import Explain

Serve = Callable[[Callable[[Sender, Message], list[Message]]], Path]

VERDICTS = [
    {"where": "box1/cpu0", "slots": 2, "score": 0.00371, "why": "about 4 ms a point: " + "x" * 80,
     "lasting": False, "change": ""},
    {"where": "box2/gpu0", "slots": 0, "score": None, "why": "is lost: its canary failed",
     "lasting": False, "change": "its known-answer run must pass again"},
]  # fmt: skip
DECISION: dict[str, Any] = {
    "at_s": 1.0, "wanted": 2, "times": 3, "reason": "", "hint": "", "more": 7,
    "verdicts": VERDICTS,
}  # fmt: skip
JOB = {
    "about": "job", "job": "job-1", "kernel": "harmonic", "state": "failed", "points": 10,
    "options": {"device": "any", "deadline_s": 5.0, "priority": 3}, "share": {"box1/cpu0": 4},
    "why": "it broke", "hint": "mend it", "decisions": [DECISION],
    "passages": [{"at_s": 2.0, "what": "lost", "where": "box1/cpu0", "why": "SIGSEGV"}],
}  # fmt: skip
NODE = {
    "about": "node", "node": "abc", "name": "box1", "state": "alive", "roles": ["submitter"],
    "rtt_s": 0.001, "bandwidth_bytes_s": 2e8, "advertised": True,
    "devices": [
        {"device": "cpu0", "kind": "cpu", "model": "EPYC", "state": "ok", "why": "", "canary": "ok",
         "cooling": True, "slots": 4, "busy": 1, "warm": 2, "waiting": 0, "start_s": 0.1,
         "memory_bytes": 8 << 30, "reserved_bytes": 1 << 30, "rates": {"harmonic": 1e9},
         "tried": ["harmonic"], "simulated": False},
    ],
    "refusals": [{"at_s": 3.0, "job": "job-1", "device": "cpu0", "why": "all slots are busy"}],
}  # fmt: skip
KERNEL = {
    "about": "kernel", "kernel": "harmonic", "ops": 12_800.0, "memory_bytes": 512, "points": 100,
    "options": {}, "needs_s": 12.0, "refused": "too late", "hint": "could be met: 13 s",
    "warnings": ["taken on trust"],
    "decisions": [DECISION | {"verdicts": [], "reason": "nobody can", "hint": "add one"}],
}  # fmt: skip


def call(serve: Serve, document: dict[str, Any], *words: str) -> tuple[int, list[Message]]:
    asked: list[Message] = []

    def answer(_: Sender, message: Message) -> list[Message]:
        if isinstance(message, Explain):
            asked.append(message)
        return [Report("qallow.explain/v1", document)]

    code = main(["explain", *words, "--socket", str(serve(answer))])
    return code, asked


def test_a_job_is_shown_with_its_verdicts_and_what_became_of_it(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    code, asked = call(serve, JOB, "job-1")
    out = capsys.readouterr().out
    assert (code, asked) == (0, [Explain("job-1")])
    assert "priority 3, done within 5 s" in out
    assert "2 runners wanted, 3 times in a row" in out
    assert "its known-answer" in out
    assert "box1/cpu0 took its runner back: SIGSEGV" in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_node_is_shown_with_its_devices_and_refusals(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    call(serve, NODE, "box1")
    out = capsys.readouterr().out
    assert "submitter: takes no work" in out
    assert "harmonic 1e+09 ops/s (by its canary)" in out
    assert "1.0 GiB of 8.0 GiB promised to leases" in out
    assert "cooling" in out
    assert "cpu0 refused job-1: all slots are busy" in out


def test_a_dry_run_asks_about_the_whole_sweep(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--kernel", "harmonic", "--set", "ticks=400", "--sweep", "coupling=0.001:0.002:100")
    _, (asked,) = call(serve, KERNEL, *words, "--deadline", "2s", "--device", "cpu")
    assert isinstance(asked, Explain)
    assert asked.order is not None
    assert (asked.order.points, asked.order.slots) == (100, 100)
    assert asked.order.sample["ticks"] == 400
    assert asked.order.extremes == {"coupling": pytest.approx((0.001, 0.002))}
    assert (asked.order.options.deadline_s, asked.order.options.device) == (2.0, "cpu")
    captured = capsys.readouterr()
    assert "could be met: 13 s" in captured.out
    assert "nothing was chosen: nobody can" in captured.out
    assert "warning: taken on trust" in captured.err


def test_json_is_the_document(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    call(serve, JOB, "job-1", "--json")
    document = json.loads(capsys.readouterr().out)
    assert document == {"schema": "qallow.explain/v1", **JOB}


@pytest.mark.parametrize("words", [(), ("job-1", "--kernel", "harmonic")])
def test_one_thing_is_explained_at_a_time(
    serve: Serve, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    code, asked = call(serve, JOB, *words)
    assert (code, asked) == (2, [])
    assert "one thing" in capsys.readouterr().err


def test_a_job_that_no_gate_let_in_shows_the_whole_refusal(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = JOB | {"refusal": {"text": "job-1 may not run on box1/cpu0: paused by the owner"}}
    assert call(serve, refused, "job-1")[0] == 0
    assert "may not run on box1/cpu0: paused" in capsys.readouterr().out


def test_a_node_shows_its_gate_and_its_own_signals(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = {"state": "refuses", "e": 2200, "s": 200, "c": 1000, "h": 1000,
            "culprits": ["s2", "", ""], "why": "it is hot", "fix": "cool it"}  # fmt: skip
    signal = {"signal": "s2", "name": "thermal margin", "shown": "2 C", "thousandths": 200,
              "provenance": "measured", "source": "nvml", "stop": "", "why": ""}  # fmt: skip
    device = NODE["devices"][0] | {"gate": gate, "signals": [signal]}
    assert call(serve, NODE | {"devices": [device]}, "box1")[0] == 0
    out = capsys.readouterr().out
    assert "E 2.200 = S 0.200 (s2) + C 1.000 + H 1.000; refuses new work: it is hot" in out
    assert "thermal margin; nvml" in out
