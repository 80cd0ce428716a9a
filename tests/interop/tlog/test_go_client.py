"""What Go's checksum database is verified with reads our exports, and notices a changed byte."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from qallow_agent.ledger.note import parse_note
from qallow_agent.runtime.logaudit import export
from qallow_agent.runtime.logbook import Logbook
from qallow_agent.runtime.logfiles import LogFiles
from qallow_agent.testing.scribe import Scribe

pytestmark = pytest.mark.timeout(120)

HERE = Path(__file__).parent
GOPATH = Path("/usr/share/gocode")
NOTE = GOPATH / "src/golang.org/x/mod/sumdb/note"
Verify = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go")
    if go is None or not NOTE.is_dir():
        pytest.skip("Go's own verifier needs: apt-get install golang-go golang-golang-x-mod-dev")
    built = tmp_path_factory.mktemp("go")
    variables = {"GO111MODULE": "off", "GOPATH": str(GOPATH), "GOCACHE": str(built / "cache")}
    subprocess.run(
        [go, "build", "-o", built / "verify", HERE / "verify.go"],
        env=os.environ | variables | {"GOFLAGS": ""}, check=True, timeout=110,
    )  # fmt: skip
    return built / "verify"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Return an export, an older checkpoint of the same log, and the log's verifier key."""
    base = tmp_path_factory.mktemp("exported")
    scribe = Scribe(Logbook(base / "log"))
    for number in range(6):
        scribe.commit([b"entry %d of %d" % (each, number) for each in range(113)])
        if number == 2:
            (base / "older").write_bytes((base / "log" / "checkpoint").read_bytes())
    scribe.wait(60.0)
    export(LogFiles(base / "log"), base / "out", scribe.log.keys)
    return base / "out", base / "older", scribe.log.keys[0].encode()


@pytest.fixture
def verify(program: Path) -> Verify:
    def call(*words: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [program, *map(str, words)], capture_output=True, text=True, timeout=30, check=False
        )

    return call


def test_go_proves_every_entry_and_the_growth_of_an_export(
    exported: tuple[Path, Path, str], verify: Verify
) -> None:
    folder, older, key = exported
    done = verify(folder, key, older)
    assert (done.returncode, done.stdout) == (0, "678\n"), done.stderr


def test_the_second_signature_does_not_disturb_go(
    exported: tuple[Path, Path, str], verify: Verify
) -> None:
    folder, _, key = exported
    assert len(parse_note((folder / "checkpoint").read_bytes()).signatures) == 2
    done = verify(folder, key, folder / "checkpoint")
    assert (done.returncode, done.stdout) == (0, "678\n"), done.stderr


@pytest.mark.parametrize(
    ("name", "at"), [("tile/entries/001", 150), ("tile/0/001", 40), ("tile/1/000.p/2", 3)]
)
def test_go_notices_one_changed_byte(
    exported: tuple[Path, Path, str], verify: Verify, tmp_path: Path, name: str, at: int
) -> None:
    folder, older, key = exported
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    data = bytearray((copy / name).read_bytes())
    data[at] ^= 1
    (copy / name).write_bytes(data)
    assert verify(copy, key, older).returncode != 0


def test_go_refuses_another_key(exported: tuple[Path, Path, str], verify: Verify) -> None:
    folder, older, _ = exported
    other = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    done = verify(folder, other, older)
    assert done.returncode != 0
    assert "note" in done.stderr or "no verifiable signatures" in done.stderr
