"""An agent reduced to its yard, as a process of its own: prints its pids, then waits.

With ``--once`` as the last word it ends as soon as its runners are ready.
"""

import sys
import time

import zmq

from qallow_agent.base.ids import RunnerId
from qallow_agent.jobs.local import RunnerReady
from qallow_agent.kernels.settings import KernelSettings
from qallow_agent.runtime.settings import RunnerSettings
from qallow_agent.runtime.yard import RunnerYard


def main() -> None:
    stays = sys.argv[-1] != "--once"
    cache_dir, *modules = sys.argv[1:] if stays else sys.argv[1:-1]
    yard = RunnerYard(
        RunnerSettings(),
        hosts=("127.0.0.1",),
        kernels=KernelSettings(modules=tuple(modules), disabled=("elasticity", "harmonic")),
        cache_dir=cache_dir,
        say=lambda notice: sys.stderr.write(f"{notice}\n"),
    )
    for number in range(2):
        yard.start(RunnerId(f"runner-{number}"), "cpu0", "cpu")
    sys.stdout.write(f"{' '.join(map(str, yard.family()))}\n")
    sys.stdout.flush()
    ready = 0
    poller = zmq.Poller()
    poller.register(yard.pollables()[0], zmq.POLLIN)
    while ready < 2:
        poller.poll(100)
        ready += sum(isinstance(message, RunnerReady) for _, message in yard.drain())
    sys.stdout.write(f"{' '.join(map(str, yard.family()))}\n")
    sys.stdout.flush()
    time.sleep(600 if stays else 0)
    yard.close()


main()
