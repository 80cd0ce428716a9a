"""Measure qallow-agent and its peers side by side on this machine, and print tables.

Each round starts every peer afresh, one after the other and each time in another order, in a
process of its own and with a deadline for everything; at the end all idle side by side. A peer that
is missing or fails becomes a line with the reason.

Usage: ``python benchmarks/run.py [--quick] [--only qallow,curve] [--update]``.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from machine import describe
from nextdoor import NextDoor, why_not
from peerlink import PeerFailed, PeerLink
from table import OURS, render

BEGIN = "<!-- figures: written by benchmarks/run.py -->"
END = "<!-- end of figures -->"
PAGE = Path(__file__).resolve().parents[1] / "BENCHMARKS.md"

START_WITHIN_S = 180.0
"""A first start on a fresh machine compiles the kernels."""

SETTLE_S = 3.0


@dataclass(frozen=True)
class Contender:
    """One column of the table."""

    name: str
    module: str
    words: tuple[str, ...] = ()


CONTENDERS = {
    OURS: Contender("qallow-agent", "qallow_peer"),
    "raw": Contender("pyzmq", "raw_zmq"),
    "curve": Contender("pyzmq+CURVE", "raw_zmq", ("curve",)),
    "ray": Contender("Ray", "ray_peer"),
    "dask": Contender("Dask", "dask_peer"),
    "futures": Contender("concurrent.futures", "futures_peer"),
}


@dataclass(frozen=True)
class Plan:
    """How long everything is looked at."""

    rounds: int
    steps: Mapping[str, float]
    once: Mapping[str, float]
    idle_s: float


FULL = Plan(
    rounds=3,
    steps={
        "trips": 2,
        "submit": 2,
        "map": 2,
        "batch": 1,
        "array": 2,
        "across": 2,
        "kernels": 4,
    },
    once={"scaling": 16},
    idle_s=20,
)
QUICK = Plan(
    rounds=2,
    steps={
        "trips": 0.6,
        "submit": 0.8,
        "map": 0.8,
        "batch": 0.5,
        "array": 0.5,
        "across": 0.5,
        "kernels": 1,
    },
    once={"scaling": 8},
    idle_s=5,
)


class Session:
    """All rounds of one run.

    Args:
        peers: Keys of :data:`CONTENDERS`.
        plan: What is measured and for how long.
        folder: For what the peers print.
    """

    def __init__(self, peers: tuple[str, ...], plan: Plan, folder: Path) -> None:
        self.figures: dict[str, dict[str, list[float]]] = {}
        self.failures: dict[str, str] = {}
        self._peers = peers
        self._plan = plan
        self._folder = folder

    def round(self, number: int) -> None:
        """Measure every peer once, in an order that changes from round to round."""
        turn = number % len(self._peers)
        for peer in (*self._peers[turn:], *self._peers[:turn]):
            link = self._begin(peer, count=True)
            if link is None:
                continue
            try:
                for step, seconds in self._steps(number).items():
                    self._keep(peer, link.ask(step, seconds, 30 + 10 * seconds))
            except PeerFailed as error:
                self._fail(peer, error)
            finally:
                link.close()

    def _steps(self, number: int) -> Mapping[str, float]:
        """Return what a round measures: the last one what is measured only once as well."""
        plan = self._plan
        return {**plan.steps, **plan.once} if number == plan.rounds - 1 else plan.steps

    def idle(self) -> None:
        """Look at all peers at rest, side by side."""
        _say("idle, all side by side")
        begun = {peer: self._begin(peer, count=False) for peer in self._peers}
        links = {peer: link for peer, link in begun.items() if link is not None}
        time.sleep(SETTLE_S)
        for peer, link in list(links.items()):
            try:
                link.post("idle", self._plan.idle_s)
            except PeerFailed as error:
                self._fail(peer, error)
        for peer, link in links.items():
            try:
                self._keep(peer, link.collect("idle", 30 + self._plan.idle_s))
            except PeerFailed as error:
                self._fail(peer, error)
            link.close()

    def _begin(self, peer: str, *, count: bool) -> PeerLink | None:
        """Return a peer's driver once the peer serves; None when it does not, now or ever.

        Args:
            peer: Its key.
            count: Whether its start counts: it does not while others run.
        """
        if "not installed" in self.failures.get(peer, ""):
            return None
        contender = CONTENDERS[peer]
        _say(contender.name)
        link = PeerLink(contender.module, contender.words, self._folder / f"{peer}.log")
        try:
            values = link.ask("start", 0, START_WITHIN_S)
        except PeerFailed as error:
            self._fail(peer, error)
            link.close()
            return None
        if count:
            self._keep(peer, values)
        return link

    def _keep(self, peer: str, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self.figures.setdefault(key, {}).setdefault(peer, []).append(value)

    def _fail(self, peer: str, error: PeerFailed) -> None:
        _say(f"{CONTENDERS[peer].name}: {error}")
        self.failures.setdefault(peer, str(error))


def main() -> int:
    """Measure and print; return 1 when qallow-agent itself failed."""
    asked = _arguments()
    plan = QUICK if asked.quick else FULL
    peers = tuple(asked.only.split(",")) if asked.only else tuple(CONTENDERS)
    machine = describe()
    began_s = time.monotonic()
    if why_not():
        _say(f"nothing is measured across machines: {why_not()}")
    with tempfile.TemporaryDirectory(prefix="bench-logs-") as folder, NextDoor():
        session = Session(peers, plan, Path(folder))
        for number in range(plan.rounds):
            _say(f"round {number + 1} of {plan.rounds}")
            session.round(number)
        session.idle()
        for peer in session.failures:
            log = Path(folder) / f"{peer}.log"
            if log.exists():
                _say(f"--- the end of what {CONTENDERS[peer].name} printed:")
                _say(log.read_text(encoding="utf-8", errors="replace")[-2_000:])
    command = f"python benchmarks/run.py{' --quick' if asked.quick else ''}"
    took = f"idle {plan.idle_s:g} s, {time.monotonic() - began_s:.0f} s in all"
    header = [
        *machine,
        f"`{command}`, {time.strftime('%Y-%m-%d')}: {plan.rounds} rounds, {took}",
    ]
    names = {peer: CONTENDERS[peer].name for peer in peers}
    text = "\n".join(f"- {line}" for line in header)
    text += "\n\n" + render(session.figures, names, session.failures)
    print(text)
    if asked.update:
        _update(text)
    return 1 if OURS in session.failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one minute instead of four")
    parser.add_argument("--only", default="", help=f"some of {','.join(CONTENDERS)}, ours first")
    parser.add_argument("--update", action="store_true", help="write the tables to BENCHMARKS.md")
    asked = parser.parse_args()
    for peer in filter(None, asked.only.split(",")):
        if peer not in CONTENDERS:
            parser.error(f"no peer is called {peer!r}; there are {', '.join(CONTENDERS)}")
    return asked


def _update(text: str) -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
