"""Real agents witness each other's logs, and name the one whose log shows two histories."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.node.commands import GetStatus
from qallow_agent.runtime.keyring import read_key
from qallow_agent.runtime.logbook import Logbook
from qallow_agent.runtime.logfiles import LEDGER
from qallow_agent.testing.agents import AgentProcess
from qallow_agent.testing.scribe import Owner, Scribe

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]

Eventually = Callable[..., Any]
Query = Callable[..., dict[str, Any]]
Spawn = Callable[..., AgentProcess]


def certified(query: Query, agent: AgentProcess, committee: int) -> dict[str, Any] | None:
    """Return what an agent says of its log, once all of it is certified by such a committee."""
    ledger: dict[str, Any] = query(agent, GetStatus())["ledger"]
    whole = ledger["head"] > 0 and ledger["provisional"] == 0
    return ledger if whole and ledger["committee"] == committee else None


def folder_of(agent: AgentProcess, mesh: str) -> Path:
    return agent.state_dir / LEDGER / mesh


def write(agent: AgentProcess, node: str, mesh: str, text: bytes) -> None:
    """Add an entry to the log of an agent that does not run, and sign it with its key."""
    seed = read_key(agent.state_dir / "ledger.key")
    assert seed is not None
    owner = Owner(NodeId(node), MeshId(mesh), seed)
    book = Logbook(folder_of(agent, mesh))
    scribe = Scribe(book, owner=owner)
    scribe.commit([text])
    book.close()


def test_three_agents_certify_each_others_logs(
    spawn: Spawn, eventually: Eventually, query: Query
) -> None:
    founder = spawn("a")
    alone = eventually(lambda: certified(query, founder, 1), 20)
    assert alone["standing"] == "solo"
    invites = [founder.invite() for _ in range(2)]
    others = [spawn(name, join=token) for name, token in zip("bc", invites, strict=True)]
    for agent in (founder, *others):
        ledger = eventually(lambda agent=agent: certified(query, agent, 3), 40)
        assert (ledger["standing"], ledger["forked"]) == ("crash-only, f = 0", [])
        assert ledger["certified_by"] >= 2
    shown = founder.run_cli("status").stdout
    assert "of 3, provisional 0 (crash-only, f = 0)" in shown


def test_four_agents_certify_and_name_one_whose_log_was_swapped(
    spawn: Spawn, eventually: Eventually, query: Query
) -> None:
    founder = spawn("a")
    invites = [founder.invite() for _ in range(3)]
    b, c, d = (spawn(name, join=token) for name, token in zip("bcd", invites, strict=True))
    for agent in (founder, b, c, d):
        ledger = eventually(lambda agent=agent: certified(query, agent, 4), 60)
        assert (ledger["standing"], ledger["certified_by"] >= 3) == ("f = 1", True)
    node, mesh = (query(d, GetStatus())[name] for name in ("node", "mesh"))
    size = query(d, GetStatus())["ledger"]["certified"]
    d.stop()
    shutil.copytree(folder_of(d, mesh), d.directory / "copy")
    write(d, node, mesh, b"what happened")
    d.start().wait_ready()
    eventually(lambda: query(d, GetStatus())["ledger"]["certified"] > size, 30)
    d.stop()
    shutil.rmtree(folder_of(d, mesh))
    shutil.copytree(d.directory / "copy", folder_of(d, mesh))
    write(d, node, mesh, b"what never happened")
    d.start().wait_ready()
    for agent in (founder, b, c):
        eventually(lambda agent=agent: node in query(agent, GetStatus())["ledger"]["forked"], 40)
        problems = query(agent, GetStatus())["problems"]
        named = [each for each in problems if each["node"] == node]
        assert any("two histories" in each["what"] and each["fix"] for each in named)
        assert query(agent, GetStatus())["ledger"]["provisional"] <= 1
    assert "d: its log showed two histories" in founder.run_cli("status").stdout
