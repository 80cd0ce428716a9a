"""The process that drives a peer, as ``run.py`` sees it: requests, answers, deadlines."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
GRACE_S = 20.0


class PeerFailed(Exception):
    """A peer gave no figures; the text says why."""


class PeerLink:
    """One running driver of a peer.

    Args:
        module: The driver below ``peers``.
        words: Its arguments.
        log: Where what it prints goes.
    """

    def __init__(self, module: str, words: tuple[str, ...], log: Path) -> None:
        with log.open("ab") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"peers.{module}", *words],
                cwd=HERE,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                start_new_session=True,
            )
        self._buffer = b""

    def ask(self, what: str, seconds: float, within_s: float) -> dict[str, float]:
        """Return what a measurement gave.

        Raises:
            PeerFailed: It failed, or there was no answer in time.
        """
        self.post(what, seconds)
        return self.collect(what, within_s)

    def post(self, what: str, seconds: float) -> None:
        """Ask for a measurement.

        Raises:
            PeerFailed: The driver has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": what, "seconds": seconds}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise PeerFailed("its driver ended") from error

    def collect(self, what: str, within_s: float) -> dict[str, float]:
        """Return the answer to what was posted.

        Raises:
            PeerFailed: It failed, or there was no answer in time.
        """
        answer: dict[str, Any] = json.loads(self._line(what, within_s))
        if "failed" in answer:
            raise PeerFailed(str(answer["failed"]))
        values: dict[str, float] = answer["values"]
        return values

    def close(self) -> None:
        """Let the driver stop its peer; kill both and all below when that takes too long."""
        family = self._family()
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(GRACE_S)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        for process in family:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=GRACE_S)

    def _family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _line(self, what: str, within_s: float) -> bytes:
        assert self._process.stdout is not None
        end_s = time.monotonic() + within_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left_s = end_s - time.monotonic()
                if left_s <= 0 or not selector.select(left_s):
                    raise PeerFailed(f"{what}: no answer within {within_s:g} s")
                data = os.read(self._process.stdout.fileno(), 65_536)
                if not data:
                    raise PeerFailed(f"{what}: its driver ended with {self._process.wait()}")
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line
