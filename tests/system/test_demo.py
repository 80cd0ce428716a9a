import socket
import subprocess
import sys
from pathlib import Path

import pytest


def demo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qallow_agent.testing.demo", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.timeout(60)
def test_a_taken_port_is_named_with_a_way_out_and_nothing_keeps_running(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = demo(tmp_path, str(port))
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1" in done.stderr
    assert "make demo PORT=" in done.stderr
    assert "Traceback" not in done.stderr
    locks = [path.read_text().strip() for path in tmp_path.rglob("lock")]
    assert not [pid for pid in locks if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("word", ["abc", "0", "70000", "-5"])
def test_a_port_that_is_none_is_explained(tmp_path: Path, word: str) -> None:
    done = demo(tmp_path, word)
    assert done.returncode == 2
    assert "is no first port" in done.stderr
