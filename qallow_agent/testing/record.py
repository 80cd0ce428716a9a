"""What is remembered of a run: every notice, and a digest of every step and byte."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from qallow_agent.base.ids import Sender
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.testing.client import VirtualClient
from qallow_agent.testing.laws import Laws
from qallow_agent.testing.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Told:
    """A notice of a box, with its time."""

    when_s: Seconds
    box: str
    notice: Notice


class Record:
    """Looks on, and has the laws checked after every step.

    Args:
        timeline: Whose time it notes.
        laws: What must be true.
        check_every: Nodes check themselves after so many steps.
    """

    def __init__(self, timeline: Timeline, laws: Laws, check_every: int) -> None:
        self.story: list[Told] = []
        self.steps = 0
        self.on_notice: Callable[[Told], None] | None = None
        self.on_news: Callable[[VirtualClient, str], None] | None = None
        self._timeline = timeline
        self._laws = laws
        self._check_every = check_every
        self._trace = hashlib.blake2b(digest_size=16)

    def digest(self) -> str:
        """Return what names this run: everything so far went into it."""
        return self._trace.hexdigest()

    def notice(self, box: str, notice: Notice) -> None:
        """Take a notice of a box."""
        told = Told(self._timeline.now, box, notice)
        self.story.append(told)
        self._note(f"{box} ! {notice.event}")
        if notice.event == "member.dead":
            self._laws.declared_dead(box, str(notice.facts["node"]))
        if self.on_notice is not None:
            self.on_notice(told)

    def step(self, box: str, cause: str, sender: Sender) -> None:
        """Take in that a node made a step."""
        self.steps += 1
        self._note(f"{box} {cause} {sender}")
        self._laws.after_step(box, cause, sender, thorough=self.steps % self._check_every == 0)

    def sent(self, box: str, data: bytes) -> None:
        """Take in bytes that leave a box."""
        self._trace.update(box.encode())
        self._trace.update(data)

    def news(self, client: VirtualClient, text: str) -> None:
        """Take in what becomes of a client's job."""
        self._note(f"client on {client.box.name}: {text}")
        if self.on_news is not None:
            self.on_news(client, text)

    def _note(self, line: str) -> None:
        self._trace.update(f"{self._timeline.now!r} {line}".encode())
