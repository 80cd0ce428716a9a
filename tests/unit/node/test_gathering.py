"""Gathering: readings become evidence, with their units, moments and gaps."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Instant
from qallow_agent.base.reading import Reading, unknown
from qallow_agent.ethics.evidence import Evidence
from qallow_agent.mesh.wire.facts import Noted, Sensed
from qallow_agent.mesh.wire.kinds import DeviceAdvert, DeviceState
from qallow_agent.node.gathering import Gathering
from qallow_agent.runtime.sensing.battery import Battery

NOW = Instant(100.0, 1_700_000_000_000_000_000)
NOW_MS = 1_700_000_000_000


def gathering() -> Gathering:
    rooms: Any = SimpleNamespace(
        membership=SimpleNamespace(members=list, alive=tuple),
        sync=SimpleNamespace(mesh_offset=lambda _: None),
        views=SimpleNamespace(likeness=lambda _: None),
    )
    me: Any = SimpleNamespace(node=NodeId("me"))
    return Gathering(me, rooms)


def device(kind: str = "cuda", throttle: tuple[str, ...] = (), **readings: Reading) -> DeviceAdvert:
    return DeviceAdvert(
        "gpu0", kind, "a board", DeviceState.OK, 1, 0, 100, readings=readings, throttle=throttle
    )


def watts(value: float, source: str = "nvml") -> Reading:
    return Reading(value, "watts", source)


def celsius(value: float) -> Reading:
    return Reading(value, "celsius", "nvml")


def seen(
    board: DeviceAdvert, *, busy: bool = False, sensed: Sensed | None = None, by: Any = None
) -> Evidence:
    return (by or gathering()).of(board, sensed or Sensed({}, (board,)), NOW, busy=busy)


def value(evidence: Evidence, signal: str) -> int | None:
    item = evidence.find(signal)
    assert item is not None, signal
    return item.value


def test_power_headroom_is_the_share_of_the_tightest_cap_that_is_left() -> None:
    board = device(power=watts(180), power_limit=watts(300), power_cap=watts(200, "settings"))
    evidence = seen(board)
    assert value(evidence, "s1") == 100_000
    assert value(evidence, "s.power") == 180_000_000
    assert value(evidence, "s.limit") == 300_000_000


def test_a_board_holds_its_own_limit_while_our_work_is_on_it() -> None:
    board = device(power=watts(299), power_limit=watts(300))
    assert value(seen(board), "s1") == 3_333
    assert value(seen(board, busy=True), "s1") is None
    capped = device(power=watts(190), power_limit=watts(300), power_cap=watts(200, "settings"))
    assert value(seen(capped, busy=True), "s1") == 50_000


def test_a_joule_counter_gives_the_power_between_two_looks() -> None:
    both = gathering()
    first = device("cpu", energy=Reading(1000.0, "joules", "rapl"))
    assert seen(first, by=both).find("s.power") is None
    later = Instant(102.0, NOW.wall_ns + 2_000_000_000)
    second = device("cpu", energy=Reading(1090.0, "joules", "rapl"))
    evidence = both.of(second, Sensed({}, (second,)), later, busy=True)
    assert value(evidence, "s.power") == 45_000_000


def test_joules_that_are_added_up_from_guesses_are_no_measured_power() -> None:
    board = device("cpu", energy=Reading(1.0, "joules", "battery", "estimated"))
    assert seen(board).find("s.power") is None


def test_the_thermal_margin_is_counted_from_the_limit_and_slowdowns_are_told() -> None:
    board = device(
        throttle=("power-cap", "heat"),
        temperature=celsius(84),
        temperature_limit=celsius(90),
        temperature_shutdown=celsius(95),
    )
    evidence = seen(board)
    assert value(evidence, "s2") == 6_000_000
    assert value(evidence, "s2.slowdown") == 1_000_000
    assert value(evidence, "s2.shutdown") == 0
    assert seen(device(throttle=("power-cap",))).find("s2.slowdown") is None
    assert value(seen(device(temperature=celsius(96), temperature_shutdown=celsius(95))),
                 "s2.shutdown") == 1_000_000  # fmt: skip


def test_an_estimated_limit_makes_an_estimated_margin() -> None:
    limit = Reading(90.0, "celsius", "thermal zone", "estimated", "10 C below critical")
    item = seen(device(temperature=celsius(50), temperature_limit=limit)).find("s2")
    assert item is not None
    assert (item.provenance, item.why) == ("estimated", "10 C below critical")


@pytest.mark.parametrize(("source", "told"), [("power_supply (discharging)", True),
                                              ("power_supply (on mains)", False)])  # fmt: skip
def test_a_battery_counts_while_it_is_drained(source: str, told: bool) -> None:  # noqa: FBT001
    board = device("cpu")
    sensed = Sensed({"battery": Reading(0.3, "ratio", source)}, (board,))
    assert (seen(board, sensed=sensed).find("s4.charge") is not None) is told


def test_what_others_feel_keeps_the_moment_at_which_it_was_read() -> None:
    board = device("cpu")
    felt = {
        "pressure_cpu": Noted(Reading(0.2, "ratio", "cgroup db"), 98.5),
        "foreign_cpu": Noted(unknown("ratio", "/proc", "it is being measured"), 100.0),
        "input_age": Noted(Reading(5.0, "seconds", "logind"), 100.0),
        "lateness": Noted(Reading(0.003, "seconds", "waits"), 100.0),
    }
    evidence = seen(board, sensed=Sensed({}, (board,), surroundings=felt))
    item = evidence.find("c1.cpu")
    assert item is not None
    assert (item.value, item.time_ms) == (200_000, NOW_MS - 1_500)
    assert value(evidence, "c3") is None
    assert value(evidence, "c5") == 3_000
    assert evidence.find("c2") is None, "a CPU's work steps back for people by its niceness"


def test_a_person_counts_for_a_board_that_draws_their_screen() -> None:
    board = device()
    felt = {"input_age": Noted(Reading(5.0, "seconds", "logind"), 100.0)}
    assert value(seen(board, sensed=Sensed({}, (board,), surroundings=felt)), "c2") == 5_000_000


def test_memory_that_only_we_hold_is_nobodys_loss() -> None:
    free = Reading(3.0, "bytes", "nvml")
    nobody, others = Reading(0.0, "bytes", "nvml"), Reading(40.0, "bytes", "nvml")
    used = Reading(0.6, "ratio", "nvml")
    alone = seen(device(memory_available=free, foreign_memory=nobody))
    shared = seen(device(memory_available=free, foreign_memory=others, foreign_utilization=used))
    assert value(alone, "c4.memory") == 1_000_000
    assert value(shared, "c4.memory") == 30_000
    assert value(shared, "c4.use") == 600_000


def test_a_device_is_dated_by_when_it_was_read() -> None:
    board = device(temperature=celsius(50))
    evidence = seen(board, sensed=Sensed({}, (board,), read_s={"gpu0": 97.0}))
    item = evidence.find("s.temperature")
    assert item is not None
    assert item.time_ms == NOW_MS - 3_000
    assert (evidence.node, evidence.device, evidence.at_ms) == ("me", "gpu0", NOW_MS)


def test_pressure_of_the_whole_machine_is_not_held_against_us_while_we_work() -> None:
    board = device("cpu")
    host = {"pressure_cpu": Noted(Reading(0.6, "ratio", "/proc/pressure/cpu"), 100.0)}
    beside = {"pressure_cpu": Noted(Reading(0.6, "ratio", "cgroup user.slice"), 100.0)}
    by = gathering()
    idle = seen(board, sensed=Sensed({}, (board,), surroundings=host), by=by)
    assert value(idle, "c1.cpu") == 600_000
    ours = seen(board, busy=True, sensed=Sensed({}, (board,), surroundings=host), by=by)
    assert value(ours, "c1.cpu") is None
    theirs = seen(board, busy=True, sensed=Sensed({}, (board,), surroundings=beside), by=by)
    assert value(theirs, "c1.cpu") == 600_000


@pytest.mark.parametrize(("status", "told"), [("Discharging", 310_000), ("Charging", None)])
def test_a_battery_in_the_machines_own_files_becomes_evidence_while_it_is_drained(
    tmp_path: Path, status: str, told: int | None
) -> None:
    pack = tmp_path / "sys/class/power_supply/BAT0"
    pack.mkdir(parents=True)
    for name, words in {"type": "Battery", "status": status, "capacity": "31"}.items():
        (pack / name).write_text(f"{words}\n")
    board = device("cpu")
    item = seen(board, sensed=Sensed({"battery": Battery(tmp_path).charge()}, (board,))).find(
        "s4.charge"
    )
    assert (None if item is None else item.value) == told
