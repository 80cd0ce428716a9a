"""``energy report``, the energy of ``jobs`` and of a finished map: what people and programs see."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.base.ids import Sender
from qallow_agent.base.message import Failure, Message, Report
from qallow_agent.cli.joules import amount, describe, spent
from qallow_agent.cli.main import main
from qallow_agent.jobs.messages import ListJobs
from qallow_agent.node.commands import GetEnergy

Serve = Callable[[Callable[[Sender, Message], list[Message]]], Path]

MEASURED = {
    "gross_j": 1234.5, "net_j": 1000.0, "low_j": 990.0, "high_j": 1300.0,
    "provenance": "measured", "why": "", "pending": [],
}  # fmt: skip
PARTLY = MEASURED | {"provenance": "unknown", "high_j": None, "why": "b/cpu0 has no energy meter"}
WORK = MEASURED | {"ops": 1e9, "op": "float32 operation", "joules_per_op": 1.2345e-6,
                   "busy_s": 80.0, "unknown_s": 0.0}  # fmt: skip
DEVICES = [
    {"device": "cpu0", "drawn_j": 5000.0, "jobs_j": 1234.5, "idle_j": 3765.5, "idle_share": 0.7531,
     "idle_w": 17.2, "provenance": "measured", "source": "rapl", "why": ""},
    {"device": "cuda0", "drawn_j": None, "jobs_j": None, "idle_j": None, "idle_share": None,
     "idle_w": None, "provenance": "unknown", "source": "none", "why": "the board counts none"},
]  # fmt: skip


def document(by: str) -> dict[str, Any]:
    names = {"kernel": "harmonic", "job": "job-gamhuux2bkzrgjky", "node": "box1", "day": 1.7e9}
    column = "day_s" if by == "day" else by
    row = (WORK if by == "kernel" else PARTLY) | {column: names[by]}
    return {"by": by, "rows": [row], "total": WORK, "devices": DEVICES}


class Agent:
    """Answers with the documents above, and remembers what it was asked."""

    def __init__(self, *energies: dict[str, Any] | None) -> None:
        self.asked: list[Message] = []
        self.energies = list(energies)

    def __call__(self, _: Sender, message: Message) -> list[Message]:
        self.asked.append(message)
        if isinstance(message, GetEnergy):
            return [Report("qallow.energy/v1", document(message.by))]
        if isinstance(message, ListJobs) and self.energies:
            energy = self.energies.pop(0) if len(self.energies) > 1 else self.energies[0]
            row = {"job": message.job, "kernel": "harmonic", "energy": energy, "points": 1}
            return [Report("qallow.jobs/v1", {"jobs": [row]})]
        return [Failure("job-not-found", "no such job")]


@pytest.mark.parametrize(
    ("by", "name"),
    [("kernel", "harmonic"), ("job", "job-gamhuux2bkzrgjky"), ("node", "box1"),
     ("day", "2023-11-14")],
)  # fmt: skip
def test_the_report_sums_up_by_what_was_asked(
    serve: Serve, capsys: pytest.CaptureFixture[str], by: str, name: str
) -> None:
    agent = Agent()
    path = serve(agent)
    assert main(["energy", "report", "--by", by, "--since", "2d", "--socket", str(path)]) == 0
    out = capsys.readouterr().out
    assert name in out
    assert "1.23 kJ" in out
    assert "75%" in out
    assert "17.2 W" in out
    assert "the board counts none" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert [each.by for each in agent.asked if isinstance(each, GetEnergy)] == [by]


def test_the_report_says_what_an_op_is_and_what_is_known_only_in_part(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(serve(Agent()))
    main(["energy", "report", "--socket", path])
    captured = capsys.readouterr()
    assert "1.23 uJ" in captured.out
    assert "one op of harmonic is one float32 operation" in captured.err
    main(["energy", "report", "--by", "node", "--socket", path])
    assert "in part" in capsys.readouterr().out


def test_the_report_as_json_is_the_agents_document(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["energy", "report", "--json", "--socket", str(serve(Agent()))]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "qallow.energy/v1"
    assert found["rows"] == document("kernel")["rows"]


def test_a_job_shows_its_joules_with_bounds_and_how_they_are_known(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "job-1", "--socket", str(serve(Agent(PARTLY)))]) == 0
    out = capsys.readouterr().out
    assert "1.23 kJ gross, 1 kJ net of idle, 990 J or more; a part unknown" in out
    assert "b/cpu0 has no energy meter" in out


def test_what_is_not_known_is_called_unknown() -> None:
    nothing = {"gross_j": None, "provenance": "unknown", "why": "no meter", "pending": ["b/cpu0"]}
    assert amount(nothing) == "unknown"
    assert describe(nothing) == [
        ("energy", "unknown"), ("", "no meter"), ("", "not told of to the end: b/cpu0"),
    ]  # fmt: skip
    assert amount(MEASURED).endswith("990 J to 1.3 kJ; measured")


def test_a_map_waits_for_the_last_of_its_joules_when_they_go_to_a_file(serve: Serve) -> None:
    pending = PARTLY | {"pending": ["b/cpu0"]}
    path = str(serve(Agent(pending, pending, MEASURED)))
    assert spent(path, "job-1", patience_s=5.0) == MEASURED


def test_a_map_does_not_wait_for_what_nobody_will_tell(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = Agent(PARTLY)
    path = str(serve(agent))
    assert spent(path, "job-1", patience_s=60.0) == PARTLY
    agent.energies = [PARTLY | {"pending": ["b/cpu0"]}]
    assert spent(path, "job-1", patience_s=0.0) == agent.energies[0]
    agent.energies = []
    assert spent(path, "job-1", patience_s=60.0) is None
    assert "its energy is not known here: no such job" in capsys.readouterr().err
