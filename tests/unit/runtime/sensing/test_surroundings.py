import os
from pathlib import Path

import pytest

from qallow_agent.runtime.sensing.lateness import LEAST, MOST, WINDOW_S, Lateness
from qallow_agent.runtime.sensing.people import People
from qallow_agent.runtime.sensing.pressure import read_others
from qallow_agent.runtime.sensing.strangers import SCAN_S, Strangers
from qallow_agent.runtime.sensing.surroundings import LOOK_S, Surroundings

NOW_S = 1_700_000_000.0
ME = 100


def write(path: Path, text: str, at_s: float | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if at_s is not None:
        os.utime(path, (at_s, at_s))
    return path


# --- lateness -------------------------------------------------------------------------------------


def test_few_waits_say_nothing_of_lateness() -> None:
    lateness = Lateness()
    for number in range(LEAST - 1):
        lateness.note(number, 0.001)
    assert lateness.read(10.0).value is None
    lateness.note(10.0, 0.001)
    assert lateness.read(10.0).value == 0.001


def test_one_late_wait_of_a_hundred_is_the_ninety_ninth_percentile_no_more() -> None:
    lateness = Lateness()
    for number in range(99):
        lateness.note(number / 10, 0.001)
    lateness.note(10.0, 0.5)
    assert lateness.read(10.0).value == 0.001
    lateness.note(10.0, 0.5)
    assert lateness.read(10.0).value == 0.5


def test_old_waits_are_forgotten_and_no_more_than_so_many_kept() -> None:
    lateness = Lateness()
    for number in range(2 * MOST):
        lateness.note(number / 100, 0.001)
    assert lateness.read(20.0).value == 0.001
    assert lateness.read(20.0 + 2 * WINDOW_S).value is None


# --- people ---------------------------------------------------------------------------------------


def people(root: Path) -> People:
    return People(lambda: NOW_S, root)


def test_a_box_without_sessions_has_nobody_and_says_so(tmp_path: Path) -> None:
    reading = people(tmp_path).read()
    assert reading.value is None
    assert "no session" in reading.why
    assert not people(tmp_path).seated()


@pytest.mark.parametrize("facts", ["CLASS=greeter\nSEAT=seat0\n", "CLASS=user\nREMOTE=1\n",
                                   "CLASS=user\nSEAT=seat0\nSTATE=closing\n"])  # fmt: skip
def test_greeters_remote_logins_and_closing_sessions_are_nobody(tmp_path: Path, facts: str) -> None:
    write(tmp_path / "run/systemd/sessions/1", facts)
    assert not people(tmp_path).seated()


def test_a_console_is_as_old_as_the_last_key_on_any_of_its_terminals(tmp_path: Path) -> None:
    me = os.getuid()
    write(
        tmp_path / "run/systemd/sessions/3",
        f"UID={me}\nCLASS=user\nTYPE=tty\nSEAT=seat0\nTTY=tty1\nSTATE=active\n",
    )
    write(tmp_path / "dev/tty1", "", NOW_S - 600)
    assert people(tmp_path).read().value == pytest.approx(600)
    write(tmp_path / "dev/pts/4", "", NOW_S - 20)
    assert people(tmp_path).read().value == pytest.approx(20)


def test_an_unlocked_desktop_counts_as_used_and_a_locked_one_since_its_lock(tmp_path: Path) -> None:
    session = tmp_path / "run/systemd/sessions/2"
    write(session, "CLASS=user\nTYPE=wayland\nSEAT=seat0\nTTY=tty2\n")
    assert people(tmp_path).read().value == 0
    write(session, "CLASS=user\nTYPE=wayland\nSEAT=seat0\nTTY=tty2\nLOCKED_HINT=1\n", NOW_S - 300)
    reading = people(tmp_path).read()
    assert (reading.value, reading.provenance) == (pytest.approx(300), "estimated")


# --- strangers ------------------------------------------------------------------------------------


class Machine:
    """A /proc of our own making: 100 ticks a second on one CPU."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock(0, 0)

    def clock(self, busy: int, idle: int) -> None:
        write(self.root / "proc/stat", f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 0 0 0 0\n")

    def process(self, pid: int, name: str, parent: int, ticks: int, reaped: int = 0) -> None:
        rest = f"S {parent} {' '.join(['0'] * 9)} {ticks} 0 {reaped} 0 20 0 1 0 5"
        write(self.root / f"proc/{pid}/stat", f"{pid} ({name}) {rest}")

    def gone(self, pid: int) -> None:
        (self.root / f"proc/{pid}/stat").unlink()
        (self.root / f"proc/{pid}").rmdir()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_quiet_machine_is_not_searched_and_its_load_is_the_bound(machine: Machine) -> None:
    strangers = Strangers(root=machine.root, me=ME)
    strangers.read(0.0)
    machine.clock(20, 80)
    reading, at_s = strangers.read(1.0)
    assert (reading.value, at_s) == (0.2, 1.0)
    assert "upper bound" in reading.why


def measured(machine: Machine, strangers: Strangers, parent: int = 1) -> float | None:
    """Return the share over three seconds in which the machine was fully busy."""
    strangers.read(0.0)
    machine.clock(100, 0)
    assert strangers.read(1.0)[0].value is None
    machine.process(ME, "qallow-agent", 1, 30)
    machine.process(102, "qallow-runner", 101, 180)
    machine.process(200, "make", parent, 60)
    machine.clock(100 + 300, 0)
    reading, at_s = strangers.read(1.0 + SCAN_S)
    assert at_s == 1.0 + SCAN_S
    return reading.value


def test_what_our_family_computes_is_not_strangers(machine: Machine) -> None:
    machine.process(ME, "qallow-agent", 1, 0)
    machine.process(101, "qallow-nursery", ME, 0)
    machine.process(102, "qallow-runner", 101, 0)
    machine.process(200, "make", 1, 0)
    assert measured(machine, Strangers(root=machine.root, me=ME)) == pytest.approx(90 / 300)


def test_other_agents_and_clients_with_their_children_are_friends(machine: Machine) -> None:
    machine.process(ME, "qallow-agent", 1, 0)
    machine.process(102, "qallow-runner", 7777, 0)
    machine.process(199, "python", 1, 0)
    machine.process(200, "make", 199, 0)
    strangers = Strangers(lambda: (199, 0), machine.root, ME)
    assert measured(machine, strangers, parent=199) == pytest.approx(30 / 300)


def test_a_child_that_was_reaped_is_counted_once(machine: Machine) -> None:
    machine.process(ME, "qallow-agent", 1, 0)
    machine.process(101, "qallow-nursery", ME, 0)
    machine.process(103, "qallow-runner", 101, 1_000)
    machine.process(102, "qallow-runner", 101, 0)
    strangers = Strangers(root=machine.root, me=ME)
    strangers.read(0.0)
    machine.clock(100, 0)
    strangers.read(1.0)
    machine.gone(103)
    machine.process(101, "qallow-nursery", ME, 0, reaped=1_050)
    machine.clock(400, 0)
    assert strangers.read(1.0 + SCAN_S)[0].value == pytest.approx(250 / 300, abs=1e-4)


# --- the others' pressure, and all of it together -------------------------------------------------


def psi(path: Path, percent: float) -> None:
    write(path, f"some avg10={percent} avg60=0.00 avg300=0.00 total=1\n")


def test_only_groups_beside_ours_are_asked_how_they_feel(tmp_path: Path) -> None:
    groups = tmp_path / "sys/fs/cgroup"
    ours = groups / "system.slice/qallow.service"
    for each in (groups, groups / "user.slice", groups / "system.slice", ours,
                 groups / "system.slice/db.service"):  # fmt: skip
        write(each / "cgroup.procs", "")
    psi(ours / "cpu.pressure", 90)
    psi(groups / "user.slice/cpu.pressure", 3)
    psi(groups / "system.slice/cpu.pressure", 70)
    psi(groups / "system.slice/db.service/cpu.pressure", 12)
    psi(tmp_path / "proc/pressure/io", 5)
    found = read_others(tmp_path, ours)
    assert found["pressure_cpu"].value == pytest.approx(0.12)
    assert found["pressure_cpu"].source == "cgroup db.service"
    assert found["pressure_io"].value == pytest.approx(0.05)
    assert found["pressure_memory"].value is None


def test_surroundings_tell_when_each_reading_was_taken(tmp_path: Path) -> None:
    psi(tmp_path / "proc/pressure/cpu", 5)
    write(tmp_path / "proc/stat", "cpu  0 0 0 0 0\n")
    surroundings = Surroundings(Lateness(), root=tmp_path, wall=lambda: NOW_S)
    first = surroundings.read(0.0)
    again = surroundings.read(LOOK_S / 2)
    assert again["pressure_cpu"].at_s == first["pressure_cpu"].at_s == 0.0
    assert again["lateness"].at_s == LOOK_S / 2
    assert surroundings.read(LOOK_S)["pressure_cpu"].at_s == LOOK_S
    assert not surroundings.desktop
