import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from qallow_agent.base.ids import Sender
from qallow_agent.base.message import Message
from qallow_agent.cli import checks, fencechecks, netchecks, sensorchecks
from qallow_agent.cli.checks import Check
from qallow_agent.cli.main import main
from qallow_agent.cli.options import LocalAgent
from qallow_agent.config.load import load_settings
from qallow_agent.config.schema import Settings

Serve = Callable[[Callable[[Sender, Message], list[Message]]], Path]

HOME = {"HOME": "/home/ada"}


def configured(*assignments: str) -> Settings:
    return load_settings(assignments=assignments, environment=HOME).settings


def levels(found: list[Check]) -> dict[str, str]:
    return {check.name: check.level for check in found}


def test_a_fresh_machine_needs_no_state(tmp_path: Path) -> None:
    assert levels(list(checks.state_checks(tmp_path / "qallow"))) == {"state": "ok"}


def test_a_key_that_others_may_read_fails_with_the_command_that_fixes_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    key = tmp_path / "node.key"
    key.write_text("ab" * 32)
    key.chmod(0o640)
    found = next(c for c in checks.state_checks(tmp_path) if c.name == "keys")
    assert found.level == "fail"
    assert f"chmod 600 {key}" in found.fix
    key.chmod(0o600)
    assert next(c for c in checks.state_checks(tmp_path) if c.name == "keys").level == "ok"


def test_a_state_directory_open_to_others_is_warned_of(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    found = next(iter(checks.state_checks(tmp_path)))
    assert (found.level, found.fix) == ("warn", f"chmod 700 {tmp_path}")


def test_a_taken_port_fails_and_a_free_one_does_not() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        settings = configured(
            "mesh.transport.bind=127.0.0.1",
            f"mesh.transport.stream_port={port}",
            "mesh.transport.door_port=0",
            "mesh.transport.datagrams=false",
        )
        found = list(netchecks.port_checks(settings))
        owned = list(netchecks.port_checks(settings, frozenset({port})))
    assert [check.level for check in found] == ["fail", "ok"]
    assert "mesh.transport.stream_port" in found[0].fix
    assert [check.level for check in owned] == ["ok", "ok"]


def test_switched_off_beacons_are_no_fault() -> None:
    settings = configured("mesh.transport.beacon=false")
    assert levels(list(netchecks.discovery_checks(settings))) == {"beacon": "ok"}


def test_a_seed_that_does_not_resolve_is_warned_of() -> None:
    settings = configured(
        "mesh.transport.beacon=false", "mesh.discovery.seeds=localhost:7946,no..such:1"
    )
    found = [c for c in netchecks.discovery_checks(settings) if c.name == "seed"]
    assert [check.level for check in found] == ["ok", "warn"]


def test_no_agent_is_a_warning_with_its_fix(tmp_path: Path) -> None:
    found, answers = netchecks.agent_checks(LocalAgent(str(tmp_path / "none"), 1.0))
    assert answers is None
    assert [check.level for check in found] == ["warn"]
    assert "qallow-agent start" in found[0].fix


@pytest.mark.parametrize(
    "check",
    [checks.platform_check, checks.limits_check, checks.clock_check],
    ids=lambda c: c.__name__,
)
def test_checks_of_this_machine_say_something(check: object) -> None:
    found = check()  # type: ignore[operator]
    assert found.what
    assert found.level == "ok" or found.fix or found.name == "clock"


def test_the_gpu_is_there_or_the_reason_is() -> None:
    assert {check.name for check in checks.gpu_checks()} == {"nvml", "pynvml"}


def test_the_jit_works_here() -> None:
    assert checks.jit_check().level == "ok"


@pytest.mark.parametrize(("fences", "reached"), [("auto", 0), ("off", 1)])
def test_fences_are_tried_at_the_keys_themselves(tmp_path: Path, fences: str, reached: int) -> None:
    key = tmp_path / "node.key"
    key.write_text("ab" * 32)
    key.chmod(0o600)
    settings = configured(f"node.state_dir={tmp_path}", f"runners.fences={fences}")
    found = list(fencechecks.fence_checks(settings))
    assert all(check.fix for check in found if check.level != "ok")
    if not reached and not any(check.level == "ok" for check in found):
        pytest.skip("this machine offers no fence at all")
    assert [str(key) in check.what for check in found if check.level == "fail"] == [True] * reached


def test_doctor_fails_on_a_wrong_configuration_and_checks_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "jit_check", lambda: Check("ok", "jit", "not tried"))
    words = ["doctor", "--json", "--socket", str(tmp_path / "none"), "--set", "node.nmae=x"]
    assert main(words) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["counts"]["fail"] == 1
    found = {check["name"]: check for check in document["checks"]}
    assert found["config"]["level"] == "fail"
    assert "did you mean node.name?" in found["config"]["fix"]
    assert {"platform", "state", "agent", "port", "clock", "nvml"} <= set(found)


def test_a_machine_without_sensors_is_fine_and_told_what_was_looked_for(tmp_path: Path) -> None:
    found = list(sensorchecks.sensor_checks(tmp_path))
    assert levels(found) == {"energy": "ok", "heat": "ok"}
    assert "RAPL" in found[0].what


def test_a_counter_that_only_root_may_read_is_warned_of_with_the_line_that_grants_it(
    tmp_path: Path, forbid: Callable[[str], None]
) -> None:
    package = tmp_path / "sys/class/powercap/intel-rapl:0"
    package.mkdir(parents=True)
    (package / "name").write_text("package-0\n")
    forbid("energy_uj")
    found = next(iter(sensorchecks.sensor_checks(tmp_path)))
    assert (found.level, found.name) == ("warn", "energy")
    assert "tmpfiles.d" in found.fix
