"""The switch: tells answers of the agent apart by their channel and hands them out."""

from collections.abc import Callable

from qallow_agent.base.message import Message
from qallow_agent.client.control import ControlLink


class Switch:
    """The control link, with a reader for every channel that still expects something.

    Args:
        link: Connected; owned by the engine's thread from now on.
    """

    def __init__(self, link: ControlLink) -> None:
        self._link = link
        self._readers: dict[int, tuple[Callable[[Message], None], bool]] = {}
        self.timeout_s = link.timeout_s

    def post(self, message: Message, answer: Callable[[Message], None] | None = None) -> int:
        """Send a message; ``answer`` takes the first reply to it."""
        channel = self._link.post(message)
        if answer is not None:
            self._readers[channel] = (answer, True)
        return channel

    def tell(self, message: Message) -> None:
        """Send a message that nobody answers."""
        self._link.post(message)

    def listen(self, channel: int, reader: Callable[[Message], None]) -> None:
        """Give every message on a channel to a reader."""
        self._readers[channel] = (reader, False)

    def deafen(self, channel: int) -> None:
        """Stop listening to a channel."""
        self._readers.pop(channel, None)

    def serve(self) -> None:
        """Hand out what has arrived.

        Raises:
            AgentUnreachable: The connection is gone.
        """
        for channel, message in self._link.events():
            reader, once = self._readers.get(channel, (None, False))
            if once:
                del self._readers[channel]
            if reader is not None:
                reader(message)
