"""What an agent refuses to start with: each ends at once with what, where and the fix."""

import base64
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.base.contact import Contact
from qallow_agent.base.keys import CurveKey, SigningKey
from qallow_agent.mesh.trust.invites import Invitation, encode_invitation

pytestmark = pytest.mark.system

CONFIG, USAGE = 78, 2

KEYS = {
    "a-folder": lambda path: path.mkdir(parents=True),
    "text": lambda path: path.write_text("no key at all\n"),
    "raw-bytes": lambda path: path.write_bytes(bytes(range(200, 232))),
    "half-a-key": lambda path: path.write_text("ab" * 16),
}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir(mode=0o700)
    return tmp_path / "state"


@pytest.fixture
def taken(request: pytest.FixtureRequest) -> Iterator[int]:
    """Return a port that somebody else holds."""
    kind = socket.SOCK_DGRAM if request.param == "datagram_port" else socket.SOCK_STREAM
    with closing(socket.socket(socket.AF_INET, kind)) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            holder.listen()
        yield holder.getsockname()[1]


def test_an_unknown_configuration_key_is_named_with_the_nearest_one(
    qallow: Callable[..., Any], complains: Callable[..., None], state: Path, tmp_path: Path
) -> None:
    start = ("start", "--state-dir", state)
    wrong = qallow(*start, "--set", "mesh.tranport.bind=127.0.0.1")
    complains(wrong, CONFIG, "'mesh.tranport.bind' (--set)", "did you mean mesh.transport.bind?")
    file = tmp_path / "agent.toml"
    file.write_text("[jobs]\nlease_tll_s = 3\n")
    wrong = qallow(*start, "--config", file)
    complains(wrong, CONFIG, f"(file {file})", "did you mean jobs.lease_ttl_s?")
    wrong = qallow(*start, QALLOW_JOBS__LEASE_TLL_S="3")
    complains(wrong, CONFIG, "QALLOW_JOBS__LEASE_TLL_S", "QALLOW_JOBS__LEASE_TTL_S?")
    assert not any(state.iterdir()), "nothing was started"


def test_a_setting_out_of_bounds_is_named_with_its_bounds(
    qallow: Callable[..., Any], complains: Callable[..., None], state: Path
) -> None:
    wrong = qallow("start", "--state-dir", state, "--set", "jobs.lease_ttl_s=0.1")
    complains(wrong, CONFIG, "jobs.lease_ttl_s", "0.1", "(--set)")


@pytest.mark.parametrize("name", ["node.key", "curve.key"])
@pytest.mark.parametrize("kind", sorted(KEYS))
def test_an_unreadable_key_is_refused_by_name(
    qallow: Callable[..., Any],
    complains: Callable[..., None],
    state: Path,
    name: str,
    kind: str,
) -> None:
    key = state / name
    KEYS[kind](key)
    key.chmod(0o700 if key.is_dir() else 0o600)
    complains(qallow("start", "--state-dir", state), CONFIG, str(key), "64 hex digits")


def test_a_key_that_the_group_may_read_is_refused_with_the_command_that_mends_it(
    qallow: Callable[..., Any], complains: Callable[..., None], state: Path
) -> None:
    key = state / "node.key"
    key.write_text("ab" * 32)
    key.chmod(0o640)
    refused = qallow("start", "--state-dir", state)
    complains(refused, CONFIG, str(key), "mode 0640", f"chmod 600 {key}")


def test_a_corrupt_state_file_is_named_and_left_for_inspection(
    qallow: Callable[..., Any], complains: Callable[..., None], state: Path
) -> None:
    epoch = state / "rooms" / "boot" / "epoch"
    epoch.parent.mkdir(parents=True)
    epoch.write_text("yesterday")
    complains(qallow("start", "--state-dir", state), CONFIG, str(epoch))
    assert epoch.read_text() == "yesterday"


def test_a_corrupt_standing_is_named_and_left_for_inspection(
    qallow: Callable[..., Any], complains: Callable[..., None], state: Path
) -> None:
    standing = state / "rooms" / "trust" / "standing"
    standing.parent.mkdir(parents=True)
    standing.write_bytes(b"\xc1 no standing")
    complains(qallow("start", "--state-dir", state), CONFIG, "trust/standing")
    assert standing.read_bytes() == b"\xc1 no standing"


@pytest.mark.parametrize(
    "taken", ["stream_port", "door_port", "datagram_port"], indirect=True, ids=str
)
def test_a_taken_port_is_named_with_the_setting_that_changes_it(
    qallow: Callable[..., Any],
    complains: Callable[..., None],
    state: Path,
    taken: int,
    request: pytest.FixtureRequest,
) -> None:
    key = f"mesh.transport.{request.node.callspec.params['taken']}"
    refused = qallow("start", "--state-dir", state, "--set", f"{key}={taken}")
    complains(refused, CONFIG, f"port {taken} of 127.0.0.1", f"--set {key}=0")


def test_an_address_of_another_machine_is_told_apart_from_a_taken_port(
    qallow: Callable[..., Any], complains: Callable[..., None], state: Path
) -> None:
    wrong = qallow("start", "--state-dir", state, "--set", "mesh.transport.bind=192.0.2.1")
    complains(wrong, CONFIG, "192.0.2.1", "address of this machine")
    assert "stop what uses the port" not in wrong.stderr
    wrong = qallow("start", "--state-dir", state, "--set", "mesh.transport.bind=box7")
    complains(wrong, CONFIG, "'box7'", "address of this machine")


def test_a_state_directory_that_is_a_file_is_refused(
    qallow: Callable[..., Any], complains: Callable[..., None], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    refused = qallow("start", "--state-dir", file)
    complains(refused, CONFIG, str(file), "--set node.state_dir=DIR")


def test_a_socket_path_too_long_for_the_kernel_is_refused(
    qallow: Callable[..., Any], complains: Callable[..., None], state: Path
) -> None:
    refused = qallow("start", "--state-dir", state, "--socket", state / ("x" * 120))
    complains(refused, CONFIG, "longer than", "node.socket")


def _flipped(token: str) -> str:
    middle = len(token) // 2
    return token[:middle] + ("b" if token[middle] == "a" else "a") + token[middle + 1 :]


MANGLED = {
    "cut-off": lambda token: token[:-9],
    "changed": _flipped,
    "capital-o": lambda token: f"{token[:20]}0{token[20:]}",
    "another-version": lambda token: token.replace("qj1-", "qj7-"),
    "something-else": lambda _: "hello",
    "endless": lambda token: token * 100,
    "random": lambda _: f"qj1-{base64.b32encode(os.urandom(80)).decode().lower()}",
}


@pytest.mark.parametrize("how", sorted(MANGLED))
def test_a_mangled_invite_is_refused_before_anything_is_sent(
    qallow: Callable[..., Any], complains: Callable[..., None], state: Path, token: str, how: str
) -> None:
    mangled = MANGLED[how](token)
    refused = qallow("start", "--state-dir", state, "--join-file", "-", stdin=f"{mangled}\n")
    complains(refused, USAGE, "invite", "copy the whole line")
    assert not (state / "rooms" / "trust").exists(), "no mesh was joined or founded"


def test_an_invite_whose_host_is_gone_ends_with_where_it_knocked(
    qallow: Callable[..., Any], complains: Callable[..., None], state: Path, token: str
) -> None:
    refused = qallow("start", "--state-dir", state, QALLOW_JOIN=token, within_s=19)
    complains(refused, 1, "cannot be reached at 127.0.0.1:9", "firewall")
    assert not (state / "rooms" / "trust").exists(), "no mesh was founded instead"


@pytest.fixture(scope="module")
def token() -> str:
    """Return a well-formed invite to a host where nobody listens."""
    host, mesh = SigningKey(bytes(32)), SigningKey(bytes(31) + b"1")
    contact = Contact(("127.0.0.1",), 9, 9, 9)
    return encode_invitation(
        Invitation(mesh.id, contact, host.id, CurveKey(bytes(32)).public, bytes(16), 4_000_000_000)
    )


def test_no_agent_is_told_apart_from_every_other_failure(
    qallow: Callable[..., Any], complains: Callable[..., None], tmp_path: Path
) -> None:
    nowhere = tmp_path / "none.sock"
    for words in (["peers"], ["devices"], ["invite"], ["jobs"], ["stop"], ["run", "harmonic"]):
        complains(qallow(*words, "--socket", nowhere), 69, str(nowhere), "qallow-agent start")
    assert qallow("status", "--socket", nowhere).returncode == 2
