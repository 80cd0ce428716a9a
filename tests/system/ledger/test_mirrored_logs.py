"""Real agents keep each other's logs, and the copy is verified like the log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]


def kill_and_damage(agent: AgentProcess) -> None:
    """Stop an agent, and cut its log in the middle of what was signed."""
    agent.ask("stop")
    agent.wait_ended()
    [bundle] = (agent.state_dir / "ledger").glob("*/tile/entries/000")
    bundle.write_bytes(bundle.read_bytes()[:50])


def test_a_copy_at_another_node_verifies_with_the_owners_key(
    spawn: Callable[..., AgentProcess], eventually: Callable[..., Any], tmp_path: Path
) -> None:
    a = spawn("a", "ledger.mirror_s=1")
    b = spawn("b", "ledger.mirror_s=1", join=a.ask("invite")["token"])
    node = a.ask("status")["node"]

    def copied() -> Any:
        head = a.ask("status")["ledger"]["head"]
        return head and b.ask("status")["ledger"]["mirrors"].get(node, 0) == head

    eventually(copied, within_s=40.0)
    [copy] = (b.state_dir / "ledger").glob(f"*/mirrored/{node}")
    key = a.ask("ledger", "export", tmp_path / "out")["keys"][0]
    done = b.run_cli("ledger", "verify", copy, "--key", key)
    assert done.returncode == 0, done.stderr
    assert node in done.stdout
    eventually(copied, within_s=40.0)  # an idle log is written no more, so the copy is whole
    kill_and_damage(a)
    done = a.run_cli("start", "--state-dir", a.state_dir)
    assert done.returncode == 78
    assert "tile/entries/000" in done.stderr
    own_size = a.ask("ledger", "tail")["signed"]
    assert a.ask("ledger", "restore", copy)["size"] == own_size
    a.start().wait_ready()
    assert a.ask("status")["ledger"]["stopped"] is False
