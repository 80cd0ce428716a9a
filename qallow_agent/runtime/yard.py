"""The yard: every runner process of this agent, started, heard, stopped and buried.

A nursery process imports the kernels once and forks runners on demand (tens of milliseconds and a
few megabytes each, against seconds and a hundred for a fresh interpreter). Without runners it is
retired, so an idle agent pays nothing. Nothing here blocks; all ends come back from ``drain``.
"""

import os
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from qallow_agent.base.errors import DeviceLost, WireError
from qallow_agent.base.ids import RunnerId, Sender
from qallow_agent.base.ids import runner as sender_of
from qallow_agent.base.machine import soonest
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.jobs.local import Forbid, RunnerExited, RunnerRests
from qallow_agent.kernels.settings import KernelSettings
from qallow_agent.runtime.berth import Berth, tell_end
from qallow_agent.runtime.ears import Ears
from qallow_agent.runtime.fences import Fence, Ground, fence_notices, tenant
from qallow_agent.runtime.groups import Groups, make_groups
from qallow_agent.runtime.nursery_link import NurseryLink, prepare_cache
from qallow_agent.runtime.orders import Fork, Forked, Kill, Preload, Preloaded, Reaped, runner_codec
from qallow_agent.runtime.scratch import clear_away, excess, make_scratch
from qallow_agent.runtime.settings import RunnerSettings

_RETRY_S: Final = 0.02
"""How soon to try again when a pipe is full; it empties in microseconds or its reader is stuck."""

_SETTLE_S: Final = 0.005
"""How soon, and then how often, to look whether a runner is done with the task of an ended lease:
until it is seen at rest nobody else gets it."""

_LONGEST_PAUSE_S: Final = 60.0
"""A nursery that dies while importing (a plug-in that crashes) is tried again at most so often."""

_REAP_S: Final = 5.0
"""A killed process is reaped in milliseconds; a nursery that does not is itself stuck."""

_PREFIX: Final = "@runner/"


class RunnerYard:
    """Starts, feeds and stops runners through one nursery.

    Args:
        settings: Limits and waits.
        hosts: Addresses a runner's socket listens on, e.g. ``("0.0.0.0",)``.
        kernels: Which kernels runners offer.
        cache_dir: Folder for compiled kernels, ours alone since its files are pickles; empty for
            Numba's own choice.
        plugins: Kind of device -> the plug-in that brings it along, as ``module:ATTRIBUTE``.
        say: Takes notices (a plug-in that does not load, a nursery that dies).
        secrets: Folders that no kernel may look into.
        clock_s: Reads the monotonic clock.
    """

    def __init__(
        self,
        settings: RunnerSettings,
        *,
        hosts: tuple[str, ...],
        kernels: KernelSettings,
        cache_dir: str,
        say: Callable[[Notice], None],
        secrets: tuple[str, ...] = (),
        plugins: Mapping[str, str] = MappingProxyType({}),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._hosts = hosts
        self._kernels = kernels
        self._cache_dir = cache_dir
        self._say = say
        self._secrets = secrets
        self._plugins = plugins
        self._clock_s = clock_s
        self._scratch, self._mark = "", -1
        self._fences: tuple[Fence, ...] = ()
        self._groups = make_groups(settings)
        self._codec = runner_codec()
        self._berths: dict[RunnerId, Berth] = {}
        self._nursery: NurseryLink | None = None
        self._nursery_deadline_s: float | None = None
        self._nursery_failures = 0
        self._nursery_again_s = 0.0
        self._ears = Ears()
        self._news: list[tuple[Sender, Message]] = []
        self._next_busy_s = 0.0

    def start(self, runner: RunnerId, device: str, kind: str) -> None:
        """Fork a runner for one slot of a device; RunnerReady or RunnerExited will follow."""
        if runner in self._berths:
            return
        try:
            nursery = self._nursery or self._open_nursery()
            berth = Berth(runner, device, kind, self._codec, self._settings.output_lines)
        except (OSError, DeviceLost) as error:
            end = f"no process could be made for it: {error}"
            self._news.append((sender_of(runner), RunnerExited(end)))
            return
        self._berths[runner] = berth
        self._ears.listen(berth.socket.fileno())
        self._ears.listen(berth.output.descriptor)
        if nursery.ready:
            self._fork(nursery, berth)

    def stop(self, runner: RunnerId, *, kill: bool = False) -> None:
        """End a runner: after its task at hand (at most ``stop_s`` later), or at once."""
        berth = self._berths.get(runner)
        if berth is None:
            return
        if berth.luggage():  # not forked yet
            self._bury(berth, "stopped")
        elif kill:
            self._kill(berth, "as asked")
        elif not berth.leaving:
            berth.hang_up()
            berth.deadline_s = self._clock_s() + self._settings.stop_s
            berth.overdue = f"it did not stop within {self._settings.stop_s:g} s"

    def tell(self, to: Sender, message: Message) -> None:
        """Send a message to a runner, named as in ``drain``; dropped when it is gone."""
        berth = self._berths.get(RunnerId(to.removeprefix(_PREFIX)))
        if berth is None:
            return
        if isinstance(message, Forbid):
            berth.settling = True
            self._next_busy_s = min(self._next_busy_s, self._clock_s() + _SETTLE_S)
        if not berth.tell(message):
            self._kill(berth, "it reads no messages")

    def pollables(self) -> tuple[int, ...]:
        """Return the one descriptor that turns readable when ``drain`` has something to do."""
        return (self._ears.fileno(),)

    def next_deadline(self) -> float | None:
        """Return the monotonic second at which ``drain`` must be called even so."""
        nursery = self._nursery
        waiting = [berth for berth in self._berths.values() if berth.waits]
        retry = self._clock_s() + _RETRY_S if waiting or (nursery and nursery.waits) else None
        return soonest(
            retry,
            self._nursery_deadline_s,
            self._next_busy_s if any(berth.ready for berth in self._berths.values()) else None,
            *(berth.deadline_s for berth in self._berths.values()),
            self._ears.next_deadline(),
        )

    def drain(self) -> list[tuple[Sender, Message]]:
        """Do what is due and return what runners said and which have ended; never blocks."""
        now_s = self._clock_s()
        ready = self._ears.ready(now_s)
        nursery = self._nursery
        if nursery is not None:
            if nursery.output.descriptor in ready:
                self._ears.read(nursery.output, now_s)
            nursery.flush()
            if nursery.socket.fileno() in ready:
                self._hear_nursery(nursery)
        for berth in list(self._berths.values()):
            if berth.output.descriptor in ready:
                self._ears.read(berth.output, now_s)
            if berth.socket.fileno() in ready:
                self._hear(berth)
            if not berth.flush():
                self._kill(berth, "it reads no messages")
        self._keep_time(now_s)
        news, self._news = self._news, []
        return news

    def busy(self) -> list[tuple[Sender, Message]]:
        """Return what each runner is running, at most every ``busy_s``; else nothing.

        While leases have just ended it looks more often, and says which runners rest by then.
        """
        now_s = self._clock_s()
        if now_s < self._next_busy_s or not self._berths:
            return []
        self._next_busy_s = now_s + self._settings.busy_s
        found: list[tuple[Sender, Message]] = []
        for berth in self._berths.values():
            if berth.canary_s(now_s) > self._settings.canary_s and not berth.killed:
                self._kill(berth, f"no answer within {self._settings.canary_s:g} s")
            too_much = excess(f"{self._scratch}/{berth.runner}", self._settings.scratch_bytes)
            if too_much and not berth.killed:
                self._kill(berth, too_much)
            busy = berth.busy(now_s)
            if busy is not None:
                found.append((sender_of(berth.runner), busy))
            elif berth.settling:
                berth.settling = False
                found.append((sender_of(berth.runner), RunnerRests()))
        if any(berth.settling for berth in self._berths.values()):
            self._next_busy_s = now_s + _SETTLE_S
        return found

    def family(self) -> tuple[int, ...]:
        """Return the process ids of the nursery and of the runners that live."""
        nursery = () if self._nursery is None else (self._nursery.process.pid,)
        pids = [berth.pid for berth in self._berths.values() if berth.pid is not None]
        return (*nursery, *pids)

    def runners(self) -> tuple[RunnerId, ...]:
        """Return the runners that are not buried yet."""
        return tuple(self._berths)

    def close(self) -> None:
        """Kill what still runs and close everything."""
        if self._nursery is not None:
            self._close_nursery(self._nursery, "the agent ends")
        self._ears.close()

    def _open_nursery(self) -> NurseryLink:
        wait_s = self._nursery_again_s - self._clock_s()
        if wait_s > 0:
            raise DeviceLost(
                f"the nursery failed {self._nursery_failures} times; next try in {wait_s:.0f} s",
                hint="the log says why",
            )
        lodger = tenant(self._settings)
        cache = prepare_cache(self._cache_dir, lodger) if self._cache_dir else ""
        self._scratch, self._mark = make_scratch(lodger)
        nursery = NurseryLink(self._settings.import_paths, cache)
        self._nursery = nursery
        self._nursery_deadline_s = self._clock_s() + self._settings.nursery_start_s
        self._ears.listen(nursery.socket.fileno())
        self._ears.listen(nursery.output.descriptor)
        ground = Ground(self._secrets, cache, self._scratch)
        nursery.order(Preload(self._kernels, self._settings, ground))
        return nursery

    def _close_nursery(self, nursery: NurseryLink, why: str, *, kill: bool = False) -> None:
        self._ears.deafen(nursery.socket.fileno())
        status = nursery.close(kill=kill)
        self._ears.finish(nursery.output, self._clock_s())
        nursery.output.close()
        self._nursery, self._nursery_deadline_s = None, None
        end = why or f"the nursery ended ({tell_end(status, '')})"
        for berth in list(self._berths.values()):
            self._hear(berth)
            self._bury(berth, end)
        clear_away(self._scratch)
        os.close(self._mark)
        self._scratch = ""

    def _hear_nursery(self, nursery: NurseryLink) -> None:
        try:
            reports = nursery.hear()
        except WireError as error:
            self._lose_nursery(nursery, f"the nursery talks nonsense: {error.message}", kill=True)
            return
        for report in reports:
            if isinstance(report, Preloaded):
                nursery.ready, self._nursery_deadline_s = True, None
                self._nursery_failures = 0
                for notice in _notices(report, self._fences, self._groups):
                    self._say(notice)
                self._fences = report.fences
                for berth in list(self._berths.values()):
                    self._fork(nursery, berth)
            elif isinstance(report, Forked | Reaped) and report.runner in self._berths:
                berth = self._berths[report.runner]
                if isinstance(report, Forked):
                    berth.pid = report.pid
                    refused = self._groups.enter(berth.runner, report.pid, self._settings)
                    if refused:
                        self._kill(berth, refused)
                else:
                    self._hear(berth)
                    self._bury(berth, tell_end(report.status, berth.killed))
        if not nursery.open:
            self._lose_nursery(nursery, "")

    def _lose_nursery(self, nursery: NurseryLink, why: str, *, kill: bool = False) -> None:
        lost = len(self._berths)
        if not nursery.ready:
            self._nursery_failures += 1
            pause_s = min(_LONGEST_PAUSE_S, 2.0 ** min(self._nursery_failures, 10))
            self._nursery_again_s = self._clock_s() + pause_s
        self._close_nursery(nursery, why, kill=kill)
        facts: dict[str, str | int | float | bool | None] = {"runners": lost, "why": why}
        self._say(Notice("nursery.lost", "the runners' nursery ended", "error", facts))

    def _fork(self, nursery: NurseryLink, berth: Berth) -> None:
        plugin = self._plugins.get(berth.kind, "")
        order = Fork(berth.runner, berth.device, berth.kind, self._hosts, self._settings, plugin)
        taken = nursery.fork(order, berth.luggage())
        berth.drop_luggage()
        if not taken:
            self._bury(berth, "the nursery takes no orders")
            return
        berth.deadline_s = self._clock_s() + self._settings.start_s
        berth.overdue = f"it did not listen within {self._settings.start_s:g} s"

    def _kill(self, berth: Berth, why: str) -> None:
        berth.killed = berth.killed or why
        berth.deadline_s = self._clock_s() + _REAP_S
        self._groups.kill(berth.runner)
        if self._nursery is not None:
            self._nursery.order(Kill(berth.runner))

    def _hear(self, berth: Berth) -> None:
        try:
            heard = berth.hear()
        except WireError as error:
            self._kill(berth, f"it talks nonsense: {error.message}")
            return
        self._news.extend((sender_of(berth.runner), message) for message in heard)
        if not berth.open:
            self._ears.deafen(berth.socket.fileno())

    def _bury(self, berth: Berth, end: str) -> None:
        limit = self._groups.close(berth.runner)
        self._ears.deafen(berth.socket.fileno())
        self._ears.finish(berth.output, self._clock_s())
        self._news.append(
            (sender_of(berth.runner), berth.obituary(f"{end}: {limit}" if limit else end))
        )
        del self._berths[berth.runner]
        berth.close()

    def _keep_time(self, now_s: float) -> None:
        nursery = self._nursery
        if nursery is None:
            return
        for berth in list(self._berths.values()):
            if berth.deadline_s is None or now_s < berth.deadline_s:
                continue
            if berth.killed:
                self._lose_nursery(nursery, "the nursery does not reap", kill=True)
                return
            self._kill(berth, berth.overdue)
        if not nursery.ready:
            if self._nursery_deadline_s is not None and now_s >= self._nursery_deadline_s:
                why = f"the nursery was not ready within {self._settings.nursery_start_s:g} s"
                self._lose_nursery(nursery, why, kill=True)
        elif self._berths:
            self._nursery_deadline_s = None
        elif self._nursery_deadline_s is None:
            self._nursery_deadline_s = now_s + self._settings.nursery_idle_s
        elif now_s >= self._nursery_deadline_s:
            self._close_nursery(nursery, "", kill=True)


def _notices(report: Preloaded, told: tuple[Fence, ...], groups: Groups) -> list[Notice]:
    """Return what a nursery found: its fences unless they were told before, and skipped kernels."""
    limits: dict[str, str | int | float | bool | None] = {
        "fence": "limits", "what": groups.what, "fix": groups.fix,
    }  # fmt: skip
    text = "what the limits of runners count"
    fences = [*fence_notices(report.fences), Notice("runners.limited", text, facts=limits)]
    if report.fences == told:
        fences = []
    skipped = [
        Notice("kernels.skipped", "a kernel was not loaded", "warning", {"why": problem})
        for problem in report.problems
    ]
    return fences + skipped
