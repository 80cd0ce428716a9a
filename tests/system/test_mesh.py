"""Real agents find each other, keep who they are, and let go of whom they should."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qallow_agent.mesh.trust.invites import decode_invitation, encode_invitation
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]

Eventually = Callable[..., Any]
Spawn = Callable[..., AgentProcess]
States = Callable[[AgentProcess], dict[str, str]]
ALL = {"a": "alive", "b": "alive", "c": "alive"}


@pytest.fixture(scope="module")
def trio(spawn_shared: Spawn) -> tuple[AgentProcess, AgentProcess, AgentProcess]:
    """Return three agents of one mesh, joined by invites."""
    founder = spawn_shared("a")
    second = spawn_shared("b", join=founder.invite())
    return founder, second, spawn_shared("c", join=founder.invite())


def test_an_agent_starts_without_any_peer_and_is_healthy(
    spawn: Spawn, able: Callable[..., None]
) -> None:
    agent = spawn("alone")
    able(agent)
    document = agent.ask("status")
    assert (document["state"], document["members"]["alive"]) == ("ready", 1)
    assert agent.run_cli("status").returncode == 0


def test_three_agents_that_joined_by_invite_see_each_other(
    trio: tuple[AgentProcess, ...], eventually: Eventually, states: States
) -> None:
    for agent in trio:
        eventually(lambda agent=agent: states(agent) == ALL, 15, f"{agent.name} sees all")
    meshes = {agent.ask("status")["mesh"] for agent in trio}
    assert len(meshes) == 1


def test_clocks_of_one_machine_agree_within_their_bounds(
    trio: tuple[AgentProcess, ...], eventually: Eventually, states: States
) -> None:
    eventually(lambda: states(trio[0]) == ALL, 15)

    def offsets() -> list[tuple[float, float]]:
        peers = [peer for peer in trio[0].ask("peers")["peers"] if not peer["self"]]
        known = [peer for peer in peers if peer["offset_s"] is not None]
        return [(peer["offset_s"], peer["bound_s"]) for peer in known] if len(known) > 1 else []

    for offset_s, bound_s in eventually(offsets, 15):
        assert abs(offset_s) <= bound_s


def test_an_agent_frozen_for_three_seconds_is_not_declared_dead(
    trio: tuple[AgentProcess, ...], eventually: Eventually, states: States
) -> None:
    eventually(lambda: all(states(agent) == ALL for agent in trio), 15)
    frozen, watchers = trio[2], trio[:2]
    marks = [len(agent.log) for agent in watchers]
    frozen.signal(signal.SIGSTOP)
    end_s = time.monotonic() + 3
    while time.monotonic() < end_s:
        assert "dead" not in {states(agent)["c"] for agent in watchers}
    frozen.signal(signal.SIGCONT)
    eventually(lambda: all(states(agent) == ALL for agent in trio), 15, "all alive again")
    for agent, mark in zip(watchers, marks, strict=True):
        assert '"member.dead"' not in agent.log[mark:]


def test_a_killed_agent_is_declared_dead_and_welcomed_back(
    trio: tuple[AgentProcess, ...], eventually: Eventually, states: States
) -> None:
    eventually(lambda: all(states(agent) == ALL for agent in trio), 15)
    victim, watchers = trio[2], trio[:2]
    node = victim.ask("status")["node"]
    victim.kill()
    for agent in watchers:
        eventually(lambda agent=agent: states(agent)["c"] == "dead", 15, "c is dead")
    status = watchers[0].run_cli("status")
    assert status.returncode == 1
    assert "c: is gone" in status.stdout
    assert "fix: start its agent" in status.stdout
    assert victim.start().wait_ready()["node"] == node
    for agent in trio:
        eventually(lambda agent=agent: states(agent) == ALL, 15, "all alive again")


def test_an_agent_that_stops_says_goodbye_and_comes_back_as_itself(
    trio: tuple[AgentProcess, ...], eventually: Eventually, states: States
) -> None:
    eventually(lambda: all(states(agent) == ALL for agent in trio), 15)
    before = trio[1].ask("status")
    done = trio[1].run_cli("stop", "--json")
    assert json.loads(done.stdout)["stopped"]
    assert trio[1].wait_ended() == 0
    eventually(lambda: states(trio[0])["b"] == "left", 5, "b has left")
    trio[1].start().wait_ready()
    after = trio[1].ask("status")
    assert [after[key] for key in ("node", "mesh", "name")] == [
        before[key] for key in ("node", "mesh", "name")
    ]
    for agent in trio:
        eventually(lambda agent=agent: states(agent) == ALL, 15, "all alive again")


def test_members_find_each_other_by_beacons_alone_when_their_sponsor_is_gone(
    spawn: Spawn, eventually: Eventually, states: States
) -> None:
    sponsor = spawn("sponsor")
    token = sponsor.invite("--uses", 2)
    first, second = spawn("first", join=token), spawn("second", join=token)
    first.kill()
    second.kill()
    sponsor.kill()
    for agent in (first, second):
        rooms = agent.state_dir / "rooms"
        shutil.rmtree(rooms / "discovery", ignore_errors=True)
        shutil.rmtree(rooms / "trust" / "known", ignore_errors=True)
        agent.start().wait_ready()
    eventually(lambda: states(first).get("second") == "alive", 15, "second was found")
    eventually(lambda: states(second).get("first") == "alive", 15, "first was found")


def test_members_find_each_other_by_their_address_books_when_nobody_shouts(
    spawn: Spawn, eventually: Eventually, states: States
) -> None:
    quiet = "mesh.transport.beacon=false"
    sponsor = spawn("sponsor", quiet)
    token = sponsor.invite("--uses", 2)
    first, second = spawn("first", quiet, join=token), spawn("second", quiet, join=token)
    everybody = {"sponsor", "first", "second"}
    eventually(lambda: set(states(second)) == everybody, 15, "second knows all")
    eventually(lambda: states(first).get("second") == "alive", 15, "first knows second")
    sponsor.kill()
    second.kill()
    second.start().wait_ready()
    eventually(lambda: states(second).get("first") == "alive", 15, "first was found again")


def test_leaving_forgets_the_mesh_but_not_who_one_is(
    spawn: Spawn, eventually: Eventually, states: States
) -> None:
    founder = spawn("founder")
    guest = spawn("guest", join=founder.invite())
    before = guest.ask("status")
    eventually(lambda: states(founder).get("guest") == "alive", 15)
    refused = guest.run_cli("leave")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert guest.ask("leave", "--yes")["left"]
    assert guest.wait_ended() == 0
    eventually(lambda: states(founder).get("guest") == "left", 5, "guest has left")
    guest.start().wait_ready()
    after = guest.ask("status")
    assert after["node"] == before["node"]
    assert after["mesh"] != before["mesh"]
    assert states(guest) == {"guest": "alive"}
    guest.stop()
    founder_mesh = founder.ask("status")["mesh"]
    guest.run_cli("leave", "--yes")
    shutil.rmtree(guest.state_dir / "rooms" / "trust")
    assert guest.start(join=founder.invite()).wait_ready()["mesh"] == founder_mesh
    eventually(lambda: states(founder).get("guest") == "alive", 15, "guest is back")


def test_a_revoked_member_is_expelled_for_ever(
    spawn: Spawn, eventually: Eventually, states: States, complains: Callable[..., None]
) -> None:
    owner = spawn("owner")
    token = owner.invite("--uses", 2)
    rogue, loyal = spawn("rogue", join=token), spawn("loyal", join=token)
    for agent in (owner, loyal):
        eventually(lambda agent=agent: states(agent).get("rogue") == "alive", 15)
    complains(loyal.run_cli("revoke", "rogue", "--yes"), 77, "issuer")
    complains(owner.run_cli("revoke", "nobody", "--yes"), 2, "'nobody'", "qallow-agent peers")
    document = owner.ask("revoke", "rogue", "--reason", "it went rogue", "--yes")
    assert document["schema"] == "qallow.revoke/v1"
    for agent in (owner, loyal):
        eventually(lambda agent=agent: states(agent).get("rogue") != "alive", 15, "rogue is out")
    rogue.kill()
    rogue.start().wait_ready()
    eventually(lambda: "alive" not in {states(rogue).get("owner"), states(rogue).get("loyal")}, 15)
    assert states(owner).get("rogue") != "alive"
    again = rogue.run_cli("status")
    assert "Traceback" not in again.stderr


@pytest.mark.usefixtures("unharmed")
def test_two_agents_on_one_state_directory_are_refused(
    lone: AgentProcess,
    qallow: Callable[..., Any],
    complains: Callable[..., None],
    tmp_path: Path,
) -> None:
    other_socket = ("--socket", tmp_path / "other.sock")
    refused = qallow("start", "--state-dir", lone.state_dir, *other_socket)
    complains(refused, 78, f"pid {lone.pid}", str(lone.state_dir), "node.state_dir=DIR")


@pytest.mark.usefixtures("unharmed")
def test_two_agents_on_one_control_socket_are_refused(
    lone: AgentProcess,
    qallow: Callable[..., Any],
    complains: Callable[..., None],
    tmp_path: Path,
) -> None:
    refused = qallow("start", "--state-dir", tmp_path / "state", "--socket", lone.socket)
    complains(refused, 78, str(lone.socket), "qallow-agent stop")
    assert lone.socket.is_socket()


@pytest.mark.usefixtures("unharmed")
def test_an_expired_invite_is_refused(
    lone: AgentProcess,
    qallow: Callable[..., Any],
    complains: Callable[..., None],
    tmp_path: Path,
) -> None:
    token = lone.invite("--ttl", "1s")
    expires_s = decode_invitation(token).expires_s
    while time.time() <= expires_s:
        time.sleep(0.05)
    refused = qallow("start", "--state-dir", tmp_path / "state", QALLOW_JOIN=token)
    complains(refused, 77, "expired", "qallow-agent invite")


def test_an_invite_is_good_for_one_node_only(
    spawn: Spawn, qallow: Callable[..., Any], complains: Callable[..., None], tmp_path: Path
) -> None:
    host = spawn("host")
    token = host.invite()
    spawn("guest", join=token)
    refused = qallow("start", "--state-dir", tmp_path / "late", QALLOW_JOIN=token)
    complains(refused, 77, "used up", "qallow-agent invite")


@pytest.mark.usefixtures("unharmed")
def test_an_invite_to_another_mesh_is_refused_by_a_member(
    lone: AgentProcess,
    spawn: Spawn,
    qallow: Callable[..., Any],
    complains: Callable[..., None],
) -> None:
    member = spawn("member")
    assert member.stop() == 0
    token = lone.invite()
    refused = qallow("start", "--state-dir", member.state_dir, QALLOW_JOIN=token)
    complains(refused, 78, "already belongs to the mesh", "qallow-agent leave")


@pytest.mark.usefixtures("unharmed")
def test_an_invite_that_this_host_never_gave_out_is_refused(
    lone: AgentProcess,
    qallow: Callable[..., Any],
    complains: Callable[..., None],
    tmp_path: Path,
) -> None:
    genuine = decode_invitation(lone.invite())
    forged = encode_invitation(msgspec.structs.replace(genuine, secret=bytes(16)))
    refused = qallow("start", "--state-dir", tmp_path / "state", QALLOW_JOIN=forged)
    complains(refused, 77, "never gave out", "qallow-agent invite")
