from typing import Any

import pytest

from qallow_agent.base.errors import BadParameter, KernelFailed
from qallow_agent.client.arguments import Arguments
from qallow_agent.client.futures import JobFuture
from qallow_agent.client.results import Block, Result
from qallow_agent.client.window import Window, starter
from qallow_agent.jobs.messages import JobOptions
from qallow_agent.jobs.parcels import ArrayHead


class Lab:
    """Starts evaluations; ``frames`` says of each whether it is done at once, fails or waits."""

    def __init__(self) -> None:
        self.started: list[JobFuture] = []
        self.given: list[dict[str, Any]] = []
        self.given_up: list[JobFuture] = []
        self.result_bytes = 1

    def submit(self, kernel: str, /, *, options: JobOptions, **params: Any) -> JobFuture:
        if params.get("x") == "bad":
            raise BadParameter("x is bad", hint="give a number")
        heads = (ArrayHead("a", "u1", (params["bytes"],)),) if "bytes" in params else ()
        future = JobFuture(kernel, Arguments({}, heads), options, None, self)
        self.started.append(future)
        self.given.append(params)
        if params.get("x") == "fails":
            future.settle(None, KernelFailed("no luck"))
        elif params.get("x") != "waits":
            self.finish(future)
        return future

    def finish(self, future: JobFuture) -> None:
        head = ArrayHead("y", "u1", (self.result_bytes,))
        future.settle(Result(Block([head], [bytes(self.result_bytes)], where="here")))

    def window(self, ahead: int | None = 4, *, ordered: bool = True, **given: Any) -> Window:
        start = starter(self.submit, "k", JobOptions(), given)
        return Window(start, ahead, ordered=ordered, noun="frame")

    def find_job(self, future: JobFuture) -> str:
        return f"job of {future.kernel}"

    def check_process(self) -> None:
        """This process is the right one."""

    def give_up(self, future: JobFuture) -> None:
        self.given_up.append(future)
        future.confirm_cancelled()


@pytest.fixture
def lab() -> Lab:
    return Lab()
