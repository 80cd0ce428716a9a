"""Real agents on this machine, each a process started through its command line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from qallow_agent.base.units import Seconds

T = TypeVar("T")

LOOPBACK = (
    "mesh.transport.bind=127.0.0.1",
    "mesh.transport.stream_port=0",
    "mesh.transport.door_port=0",
    "mesh.transport.datagram_port=0",
)
"""Settings that keep an agent on this machine, on ports nobody else uses."""

READY_S: Seconds = 20.0
"""An agent is ready within a second; a machine that also runs tests may take longer."""

_LOOK_S = 0.05
_COMMAND = (sys.executable, "-m", "qallow_agent.cli.main")


class AgentProcess:
    """One agent with its own state directory and socket; the same again after a restart.

    Args:
        name: Its name in the mesh.
        directory: Its keys, state, socket and output go there; made when it starts.
        settings: ``key=value``, after those of :data:`LOOPBACK`.
        environment: Variables of the agent and of the commands that ask it; default ours.
        before: Words before its command, e.g. those that run it in a network namespace.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        settings: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.directory = directory
        self.settings = (*LOOPBACK, *settings)
        self.environment = dict(os.environ if environment is None else environment)
        self.process: subprocess.Popen[bytes] | None = None
        self._before = tuple(before)
        self._commands: list[subprocess.Popen[str]] = []

    @property
    def state_dir(self) -> Path:
        """Where it keeps its keys and state."""
        return self.directory / "state"

    @property
    def socket(self) -> Path:
        """Its control socket."""
        return self.state_dir / "agent.sock"

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            RuntimeError: It was never started.
        """
        if self.process is None:
            raise RuntimeError(f"agent {self.name} was never started")
        return self.process.pid

    @property
    def log(self) -> str:
        """Everything it said on stderr, earlier runs included."""
        path = self.directory / "stderr.txt"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def start(self, join: str = "") -> Self:
        """Start it, with an invite when it is to join a mesh; returns at once."""
        self.directory.mkdir(parents=True, exist_ok=True)
        assignments = [word for setting in self.settings for word in ("--set", setting)]
        with (
            (self.directory / "stdout.txt").open("wb") as out,
            (self.directory / "stderr.txt").open("ab") as err,
        ):
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [*self._before, *_COMMAND, "start", "--json", "--name", self.name,
                 "--state-dir", self.state_dir, "--socket", self.socket, *assignments],
                env=self.environment | ({"QALLOW_JOIN": join} if join else {}),
                stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip
        return self

    def wait_ready(self, within_s: Seconds = READY_S) -> dict[str, Any]:
        """Return what it said when it was ready: ``qallow.start/v1``.

        Raises:
            RuntimeError: It ended, or was not ready in time; with what it said.
        """
        return self.wait_for("ready", self._said_ready, within_s)

    def wait_for(self, what: str, seen: Callable[[], T | None], within_s: Seconds = READY_S) -> T:
        """Return the first truthy thing that ``seen`` returns while the agent runs.

        Raises:
            RuntimeError: The agent ended, or the deadline passed; with its log.
        """
        end_s = time.monotonic() + within_s
        while not (found := seen()):
            code = None if self.process is None else self.process.poll()
            if code is not None:
                raise RuntimeError(f"agent {self.name} ended with {code}: {self.log}")
            if time.monotonic() > end_s:
                raise RuntimeError(f"agent {self.name}: not {what} in {within_s} s: {self.log}")
            time.sleep(_LOOK_S)
        return found

    def run_cli(
        self, *words: object, within_s: Seconds = 30.0, stdin: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one command against this agent to its end, as a user of this machine would.

        Raises:
            subprocess.TimeoutExpired: It did not end in time.
        """
        return subprocess.run(  # noqa: S603 - our own program
            [*_COMMAND, *map(str, words)],
            env=self.command_environment() | variables,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def start_cli(self, *words: object, **variables: str) -> subprocess.Popen[str]:
        """Start one command against this agent and return it running, its outputs piped."""
        command = subprocess.Popen(  # noqa: S603 - our own program
            [*_COMMAND, *map(str, words)],
            env=self.command_environment() | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._commands.append(command)
        return command

    def ask(self, *words: object, within_s: Seconds = 30.0) -> dict[str, Any]:
        """Return the JSON document that a command prints.

        Raises:
            RuntimeError: It printed none; with its exit code and what it said.
        """
        done = self.run_cli(*words, "--json", within_s=within_s)
        try:
            document: dict[str, Any] = json.loads(done.stdout)
        except ValueError as error:
            text = f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}"
            raise RuntimeError(text) from error
        return document

    def invite(self, *words: object) -> str:
        """Return the token of a new invite."""
        return str(self.ask("invite", *words)["token"])

    def command_environment(self) -> dict[str, str]:
        """Return the variables with which commands find this agent."""
        return self.environment | {"QALLOW_SOCKET": str(self.socket)}

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; one that has ended does not mind."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def wait_ended(self, within_s: Seconds = READY_S) -> int:
        """Return its exit code once it has ended.

        Raises:
            RuntimeError: It was never started.
            subprocess.TimeoutExpired: It still runs.
        """
        if self.process is None:
            raise RuntimeError(f"agent {self.name} was never started")
        return self.process.wait(within_s)

    def stop(self, within_s: Seconds = READY_S) -> int:
        """Ask it to finish and end (SIGTERM), insist when it does not, return its exit code."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self.wait_ended(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End it as a crash or a power cut would (SIGKILL); harmless when it has ended."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def close(self) -> None:
        """Kill it and every command that was started against it, and release their pipes."""
        self.kill()
        for command in self._commands:
            command.kill()
            command.communicate()
        self._commands.clear()

    def _said_ready(self) -> dict[str, Any] | None:
        said: dict[str, Any] | None = None
        with suppress(OSError, ValueError):
            said = json.loads((self.directory / "stdout.txt").read_bytes())
        return said
