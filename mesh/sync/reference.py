"""NTP as one more source: shown and weighed with the peers, never the authority."""

from dataclasses import dataclass
from typing import Any

from qallow_agent.base.machine import Effect, Instant
from qallow_agent.base.notice import Level, Notice
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.sync.offset import Interval, agree
from qallow_agent.mesh.wire.facts import NtpAnswer

MAX_SERVERS = 16
"""Servers kept; a configuration that names more is beyond any use."""
STALE_PERIODS = 4
"""An answer older than this many periods says nothing any more."""
DELIVERY_S = 1.0
"""An answer may wait this long for the driver to pick it up; its bound allows for the drift."""


@dataclass(slots=True)
class _Server:
    interval: Interval | None
    at_s: Seconds
    why: str


class Reference:
    """Keeps the last answer of each NTP server and judges it against the peers.

    Args:
        drift: How fast our clock may run off between answers, as a ratio.
        period_s: How often a server is asked.
    """

    def __init__(self, drift: float, period_s: Seconds) -> None:
        self._drift = drift
        self._period_s = period_s
        self._servers: dict[str, _Server] = {}

    def take(self, answer: NtpAnswer, clocks: list[Interval], now: Instant) -> list[Effect]:
        """Take in one checked answer, or the reason for none.

        Args:
            answer: From the asker in ``mesh/io``.
            clocks: Our own clock (zero) and the peers', relative to ours.
            now: Its arrival.
        """
        if answer.server not in self._servers and len(self._servers) >= MAX_SERVERS:
            return []
        before = self._servers.get(answer.server)
        interval, why = None, answer.why
        if answer.offset_s is not None and answer.bound_s is not None:
            interval = Interval(answer.offset_s, answer.offset_s).widened(
                answer.bound_s + self._drift * DELIVERY_S
            )
            why = _contradiction(interval, clocks)
        self._servers[answer.server] = _Server(interval, now.mono_s, why)
        if why == (before.why if before else ""):
            return []
        event = "sync.ntp-refused" if why else "sync.ntp-ok"
        text = "an NTP server is not believed" if why else "an NTP server is believed again"
        level: Level = "warning" if why else "info"
        return [Notice(event, text, level, {"server": answer.server, "why": why})]

    def intervals(self, mono_s: Seconds) -> list[Interval]:
        """Return the believed answers, widened by their age."""
        return [
            server.interval.widened(self._drift * (mono_s - server.at_s))
            for _, server in sorted(self._servers.items())
            if server.interval is not None and not server.why and self._is_fresh(server, mono_s)
        ]

    def forget(self) -> None:
        """Drop all answers: our own clock was stepped."""
        self._servers.clear()

    def document(self, mono_s: Seconds) -> list[dict[str, Any]]:
        """Return what is shown of each server; JSON-shaped."""
        return [
            {
                "server": name,
                "offset_s": server.interval.middle_s if server.interval else None,
                "bound_s": server.interval.half_s if server.interval else None,
                "why": server.why
                or ("" if self._is_fresh(server, mono_s) else "its last answer is too old"),
                "age_s": max(0.0, mono_s - server.at_s),
            }
            for name, server in sorted(self._servers.items())
        ]

    def _is_fresh(self, server: _Server, mono_s: Seconds) -> bool:
        return mono_s - server.at_s <= STALE_PERIODS * self._period_s


def _contradiction(interval: Interval, clocks: list[Interval]) -> str:
    """Return why an answer is not believed: it lies outside what the peers' clocks agree on."""
    together = agree(clocks) if len(clocks) > 1 else None
    if together is None or together.hull.meets(interval):
        return ""
    apart_s = interval.middle_s - together.hull.middle_s
    return f"it is {apart_s:+.6f} s away from the clocks of this node and its peers"
