"""Real agents keep each other's logs, and the copy is verified like the log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]


def test_a_copy_at_another_node_verifies_with_the_owners_key(
    spawn: Callable[..., AgentProcess], eventually: Callable[..., Any], tmp_path: Path
) -> None:
    a = spawn("a", "ledger.mirror_s=1")
    b = spawn("b", "ledger.mirror_s=1", join=a.ask("invite")["token"])
    node = a.ask("status")["node"]

    def copied() -> Any:
        ledger = b.ask("status")["ledger"]
        return ledger["mirrors"].get(node, 0) >= 1

    eventually(copied, within_s=40.0)
    [copy] = (b.state_dir / "ledger").glob(f"*/mirrored/{node}")
    key = a.ask("ledger", "export", tmp_path / "out")["keys"][0]
    done = b.run_cli("ledger", "verify", copy, "--key", key)
    assert done.returncode == 0, done.stderr
    assert node in done.stdout
