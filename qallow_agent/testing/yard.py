"""The runners of one virtual agent: started, told, heard and buried, as ``runtime/yard`` does."""

from collections.abc import Callable, Mapping
from functools import partial
from random import Random

from qallow_agent.base.codec import Codec
from qallow_agent.base.contact import join_address
from qallow_agent.base.ids import Address, RunnerId, Sender
from qallow_agent.base.ids import runner as sender_of
from qallow_agent.base.keys import CurveKey
from qallow_agent.base.message import Message, kinds
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.local import (
    RUNNER_KINDS,
    Forbid,
    RunnerExited,
    RunnerReady,
    RunnerRests,
)
from qallow_agent.testing.network import Network
from qallow_agent.testing.premises import point_ops
from qallow_agent.testing.runners import Craft, VirtualRunner
from qallow_agent.testing.timeline import Process

BUSY_S: Seconds = 0.25
"""How often the agent looks at what each runner is at."""
SETTLE_S: Seconds = 0.005
"""How often it looks at one whose lease has ended, until that rests."""
STOP_S: Seconds = 5.0
"""How long a runner may take to finish its task when asked to stop; then it is killed."""
_FIRST_PORT = 20_000
_LIMIT_BYTES = 1 << 20
_CODEC = Codec(kinds(RUNNER_KINDS), _LIMIT_BYTES)


class VirtualYard:
    """The runners of one agent; they die with it.

    Args:
        network: Where runners listen.
        agent: The agent's process.
        host: The address of its machine.
        craft: What the machine is good for.
        rng: Entropy for keys and times.
        deliver: Hands the agent what a runner says.
    """

    def __init__(
        self,
        *,
        network: Network,
        agent: Process,
        host: str,
        craft: Craft,
        rng: Random,
        deliver: Callable[[Sender, Message], None],
    ) -> None:
        self._network = network
        self._agent = agent
        self._host = host
        self._craft = craft
        self._rng = rng
        self._deliver = deliver
        self._runners: dict[RunnerId, VirtualRunner] = {}
        self._addresses: dict[RunnerId, Address] = {}
        self._looking = False
        self._ports = _FIRST_PORT
        self._worked_s: Seconds = 0.0
        agent.at_death(self._bury_all)

    @property
    def runners(self) -> Mapping[RunnerId, VirtualRunner]:
        """The runners that live."""
        return self._runners

    def worked_s(self) -> Seconds:
        """Return for how long all runners that ever were have worked, together."""
        return self._worked_s + sum(runner.worked_s() for runner in self._runners.values())

    def start(self, runner_id: RunnerId, _device: str) -> None:
        """Start a runner; RunnerReady follows."""
        process = Process(self._network.timeline)
        tell = partial(self._say, runner_id)
        runner = VirtualRunner(
            runner_id,
            process,
            self._network.timeline,
            self._craft,
            self._rng,
            tell,
            point_ops,
        )
        self._runners[runner_id] = runner
        process.at_death(partial(self._forget, runner_id))
        self._ports += 1
        port = self._ports
        key = CurveKey(self._rng.randbytes(32)).public

        def ready() -> None:
            address = join_address(self._host, port)
            self._addresses[runner_id] = address
            self._network.runners[address] = runner
            tell(RunnerReady(port, key, port))

        process.after(self._craft.start_s * (0.5 + self._rng.random()), ready)
        if not self._looking:
            self._looking = True
            self._agent.after(BUSY_S, self._look)

    def stop(self, runner_id: RunnerId, *, kill: bool) -> None:
        """End a runner: after its task at hand, or at once."""
        runner = self._runners.get(runner_id)
        if runner is None:
            return
        if kill:
            self._end(runner, "killed: as asked")
        else:
            runner.leave(partial(self._end, runner, "stopped"))
            late = f"killed: it did not stop within {STOP_S:g} s"
            self._agent.after(STOP_S, partial(self._end, runner, late))

    def tell(self, to: Sender, message: Message) -> None:
        """Send a message to a runner; dropped when it is gone."""
        runner = self._runners.get(RunnerId(to.removeprefix("@runner/")))
        if runner is not None:
            heard = _CODEC.decode(_CODEC.encode(message))
            runner.process.run(partial(runner.obey, heard))
            if isinstance(heard, Forbid):
                self._agent.after(SETTLE_S, partial(self._settle, runner))

    def crash(self, runner_id: RunnerId) -> None:
        """Kill a runner as the kernel's out-of-memory killer does."""
        self._end(self._runners[runner_id], "killed by SIGKILL")

    def _look(self) -> None:
        """Tell the agent what each runner is at, for as long as there are any."""
        for runner in list(self._runners.values()):
            busy = runner.busy()
            if busy is not None:
                self._deliver(sender_of(runner.id), busy)
        self._looking = bool(self._runners)
        if self._looking:
            self._agent.after(BUSY_S, self._look)

    def _settle(self, runner: VirtualRunner) -> None:
        """Say when a runner is done with the task of an ended lease."""
        if runner.process.alive and runner.busy() is not None:
            self._agent.after(SETTLE_S, partial(self._settle, runner))
        elif runner.process.alive:
            self._deliver(sender_of(runner.id), RunnerRests())

    def _end(self, runner: VirtualRunner, how: str) -> None:
        if runner.process.alive:
            self._say(runner.id, runner.obituary(how))
            runner.process.die()

    def _say(self, runner_id: RunnerId, message: Message) -> None:
        """Bring a runner's word to the agent, a moment later: it is another process."""
        if not isinstance(message, RunnerExited):
            message = _CODEC.decode(_CODEC.encode(message))
        self._agent.after(0.0, partial(self._deliver, sender_of(runner_id), message))

    def _forget(self, runner_id: RunnerId) -> None:
        runner = self._runners.pop(runner_id, None)
        self._worked_s += 0.0 if runner is None else runner.worked_s()
        address = self._addresses.pop(runner_id, None)
        if address is not None:
            self._network.runners.pop(address, None)

    def _bury_all(self) -> None:
        for runner in list(self._runners.values()):
            runner.process.die()
