"""The log on the command line: a laptop that never saw the mesh, and everything that is wrong."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qallow_agent.base.keys import SigningKey
from qallow_agent.ledger.leaf import LeafKind
from qallow_agent.ledger.signing import cosigner_key, log_key
from qallow_agent.runtime.logbook import Logbook
from qallow_agent.testing.agents import AgentProcess
from qallow_agent.testing.scribe import Scribe

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

Qallow = Callable[..., "subprocess.CompletedProcess[str]"]
Complains = Callable[..., None]
STRANGER = log_key("qallow-agent/x/y", SigningKey(b"x" * 32)).encode()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a log of 703 entries, three of which no head covers, and its key."""
    folder = tmp_path_factory.mktemp("written") / "log"
    scribe = Scribe(Logbook(folder))
    scribe.commit([b"decision"] * 600)
    scribe.write([b"away until noon"], LeafKind.OVERRIDE, at_once=True)
    scribe.commit([b"receipt %d" % number for number in range(99)])
    scribe.write([b"fresh"] * 3, at_once=True)
    return folder, scribe.log.keys[0].encode()


@pytest.fixture
def exported(log: tuple[Path, str], qallow: Qallow, tmp_path: Path) -> Path:
    folder, _ = log
    done = qallow("ledger", "export", tmp_path / "out", "--from", folder)
    assert done.returncode == 0, done.stderr
    return tmp_path / "out"


def document(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_tail_shows_the_newest_entries_and_which_are_signed(
    log: tuple[Path, str], qallow: Qallow
) -> None:
    found = document(qallow("ledger", "tail", "-n", 5, "--from", log[0], "--json"))
    assert (found["size"], found["signed"]) == (703, 700)
    assert [row["index"] for row in found["entries"]] == [698, 699, 700, 701, 702]
    shown = qallow("ledger", "tail", "-n", 5, "--from", log[0]).stdout
    assert shown.count("not yet") == 3


def test_show_proves_an_entry_under_the_newest_head(log: tuple[Path, str], qallow: Qallow) -> None:
    found = document(qallow("ledger", "show", 600, "--from", log[0], "--json"))
    assert (found["kind"], found["signed"], found["head"]) == ("override", True, 700)
    assert bytes.fromhex(found["body"]["hex"]) == b"away until noon"
    shown = qallow("ledger", "show", 600, "--from", log[0])
    assert "under the head of 700 entries" in shown.stdout
    assert "not yet" in qallow("ledger", "show", 701, "--from", log[0]).stdout


def test_verify_proves_a_log_whose_key_is_named(log: tuple[Path, str], qallow: Qallow) -> None:
    folder, key = log
    found = document(qallow("ledger", "verify", folder, "--key", key, "--json"))
    assert (found["size"], found["unsigned"]) == (700, 3)
    assert found["kinds"] == {"override": 1, "receipt": 699}
    assert found["signed_by"] == [f"{found['origin']} (log)"]


def test_an_export_verifies_elsewhere_by_key_and_by_policy(
    log: tuple[Path, str], exported: Path, qallow: Qallow, tmp_path: Path
) -> None:
    _, key = log
    policy = tmp_path / "trust.policy"
    policy.write_text(f"log {key}\nquorum none\n")
    assert sorted(path.name for path in exported.rglob("*.p/*")) == ["188", "188", "2"]
    for words in (("--key", key), ("--policy", policy)):
        done = qallow("ledger", "verify", exported, *words)
        assert done.returncode == 0, done.stderr
        assert "700, all as signed" in done.stdout
    assert document(qallow("ledger", "show", 3, "--from", exported, "--json"))["signed"]


def test_an_export_is_brought_up_to_date(exported: Path, log: tuple[Path, str], qallow: Qallow,
                                         tmp_path: Path) -> None:  # fmt: skip
    copy = tmp_path / "copy"
    shutil.copytree(log[0], copy)
    scribe = Scribe(Logbook(copy))
    scribe.commit([b"more"] * 100)
    found = document(qallow("ledger", "export", exported, "--from", copy, "--json"))
    assert (found["size"], found["tiles"]) == (803, 5)
    done = qallow("ledger", "verify", exported, "--key", log[1])
    assert "803, all as signed" in done.stdout


def test_an_export_over_another_history_is_refused(
    exported: Path, qallow: Qallow, complains: Complains, tmp_path: Path
) -> None:
    scribe = Scribe(Logbook(tmp_path / "fork"))
    scribe.commit([b"another history"] * 800)
    done = qallow("ledger", "export", exported, "--from", tmp_path / "fork")
    complains(done, 78, "another history of it", "evidence")


@pytest.mark.parametrize(
    ("name", "at", "word"),
    [
        ("tile/entries/001", 150, "entry 257"),
        ("tile/entries/002.p/188", 9, "entry 512"),
        ("tile/0/001", 40, "entry 257 does not fit its hash"),
        ("checkpoint", 100, "does not verify"),
    ],
)
def test_one_changed_byte_is_found_and_named(
    exported: Path, log: tuple[Path, str], qallow: Qallow, name: str, at: int, word: str,
) -> None:  # fmt: skip
    data = bytearray((exported / name).read_bytes())
    data[at] ^= 1
    (exported / name).write_bytes(data)
    done = qallow("ledger", "verify", exported, "--key", log[1])
    assert done.returncode in {1, 78}
    assert word in done.stderr


def test_a_bundle_that_is_missing_is_named(
    exported: Path, log: tuple[Path, str], qallow: Qallow, complains: Complains
) -> None:
    (exported / "tile/entries/001").unlink()
    done = qallow("ledger", "verify", exported, "--key", log[1])
    complains(done, 78, "tile/entries/001 ends before entry 256")


def test_wrong_inputs_are_told(
    log: tuple[Path, str], qallow: Qallow, complains: Complains, tmp_path: Path
) -> None:
    folder, key = log
    complains(qallow("ledger", "verify", folder), 2, "whose log")
    complains(qallow("ledger", "verify", folder, "--key", "junk"), 78, "no verifier key")
    complains(qallow("ledger", "verify", tmp_path, "--key", key), 2, "no signed log")
    complains(qallow("ledger", "verify", tmp_path / "gone", "--key", key), 2, "is no folder")
    complains(qallow("ledger", "show", 703, "--from", folder), 2, "no entry 703")
    complains(qallow("ledger", "tail", "--set", f"node.state_dir={tmp_path}"), 2, "no log in")
    missing = tmp_path / "policy"
    complains(qallow("ledger", "verify", folder, "--policy", missing), 78, "cannot be read")
    done = qallow("ledger", "verify", folder, "--key", STRANGER)
    assert done.returncode == 1
    assert "no key that is known" in done.stderr


def test_a_policy_that_asks_for_a_witness_is_not_satisfied_without(
    log: tuple[Path, str], qallow: Qallow, tmp_path: Path
) -> None:
    witness = cosigner_key("witness", SigningKey(b"w" * 32)).encode()
    policy = tmp_path / "trust.policy"
    policy.write_text(f"log {log[1]}\nwitness w {witness}\nquorum w\n")
    done = qallow("ledger", "verify", log[0], "--policy", policy)
    assert done.returncode == 1
    assert "cosigned by nobody" in done.stderr


def test_a_running_agent_has_a_log_that_is_read_beside_it(lone: AgentProcess) -> None:
    assert lone.ask("ledger", "tail")["schema"] == "qallow.ledger/v1"
