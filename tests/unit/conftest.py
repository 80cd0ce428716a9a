import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qallow_agent.base.ids import Sender
from qallow_agent.base.message import Message
from qallow_agent.runtime.control import ControlServer

Answer = Callable[[Sender, Message], list[Message]]


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make files of a name unreadable; their mode would not stop tests that run as root."""
    whole = Path.read_text

    def forbid(name: str) -> None:
        def guarded(path: Path, *arguments: str, **options: str) -> str:
            if path.name == name:
                raise PermissionError(13, "Permission denied", str(path))
            return whole(path, *arguments, **options)

        monkeypatch.setattr(Path, "read_text", guarded)

    return forbid


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Answer], Path]]:
    """Run a real control server whose answers a test decides, in a thread."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def start(answer: Answer) -> Path:
        server = ControlServer(tmp_path / "agent.sock")
        server.open()

        def loop() -> None:
            while not over.is_set():
                ready, _, _ = select.select(list(server.interest()), [], [], 0.02)
                for descriptor in ready:
                    for sender, message in server.serve(descriptor):
                        for reply in answer(sender, message):
                            server.reply(sender, reply)
            server.close()

        thread = threading.Thread(target=loop)
        thread.start()
        threads.append(thread)
        return server.path

    yield start
    over.set()
    for thread in threads:
        thread.join(5)
