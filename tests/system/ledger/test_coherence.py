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


@pytest.mark.parametrize(("names", "standing"), [("bc", "crash-only, f = 0"), ("bcd", "f = 1")])
def test_a_mesh_certifies_and_names_one_whose_log_was_swapped(
    spawn: Spawn, eventually: Eventually, query: Query, names: str, standing: str
) -> None:
    founder = spawn("a")
    invites = [founder.invite() for _ in names]
    others = [spawn(name, join=token) for name, token in zip(names, invites, strict=True)]
    *honest, liar = founder, *others
    for agent in (*honest, liar):
        ledger = eventually(lambda agent=agent: certified(query, agent, len(names) + 1), 60)
        assert ledger["standing"] == standing
        assert ledger["certified_by"] >= len(names)
    node, mesh = (query(liar, GetStatus())[name] for name in ("node", "mesh"))
    size = query(liar, GetStatus())["ledger"]["certified"]
    liar.stop()
    shutil.copytree(folder_of(liar, mesh), liar.directory / "copy")
    write(liar, node, mesh, b"what happened")
    liar.start().wait_ready()
    eventually(lambda: query(liar, GetStatus())["ledger"]["certified"] > size, 30)
    liar.stop()
    shutil.rmtree(folder_of(liar, mesh))
    shutil.copytree(liar.directory / "copy", folder_of(liar, mesh))
    write(liar, node, mesh, b"what never happened")
    liar.start().wait_ready()
    for agent in honest:
        eventually(lambda agent=agent: node in query(agent, GetStatus())["ledger"]["forked"], 40)
        problems = query(agent, GetStatus())["problems"]
        named = [each for each in problems if each["node"] == node]
        assert any("two histories" in each["what"] and each["fix"] for each in named)
        assert query(agent, GetStatus())["ledger"]["provisional"] <= 1
    assert f"{names[-1]}: its log showed two histories" in founder.run_cli("status").stdout
