import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from qallow_agent.base.errors import KernelFailed
from qallow_agent.client.aflow import flow


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end, and see that no task is left."""

    async def bounded() -> None:
        await asyncio.wait_for(main, 10)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(bounded())


async def turns(count: int = 20) -> None:
    """Let every other task have some turns."""
    for _ in range(count):
        await asyncio.sleep(0)


class Camera:
    """Frames that come when they are let go, or as fast as they are drawn."""

    def __init__(self, *xs: Any, endless: bool = False) -> None:
        self.xs = list(xs)
        self.drawn = 0
        self.closed = False
        self.endless = endless

    async def frames(self) -> AsyncIterator[dict[str, Any]]:
        try:
            while self.endless or self.drawn < len(self.xs):
                self.drawn += 1
                yield {"x": self.drawn if self.endless else self.xs[self.drawn - 1]}
                await asyncio.sleep(0)
            if self.xs and self.xs[-1] == "waits":
                await asyncio.Event().wait()
        finally:
            self.closed = True


def test_results_come_in_order_from_either_kind_of_iterable(lab: Any) -> None:
    async def main() -> None:
        found = [each.index async for each in flow(Camera(*range(20)).frames(), lab.window())]
        assert found == list(range(20))
        found = [each.index async for each in flow(({"x": n} for n in range(20)), lab.window())]
        assert found == list(range(20))

    run(main())


def test_an_endless_source_is_drawn_no_further_than_the_bound(lab: Any) -> None:
    async def main() -> None:
        camera = Camera(endless=True)
        async with aclosing(flow(camera.frames(), lab.window(ahead=4))) as results:
            for taken in range(1, 20):
                await anext(results)
                await asyncio.sleep(0)
                assert camera.drawn - taken <= 4

    run(main())


def test_a_result_is_not_held_up_by_the_frame_after_it(lab: Any) -> None:
    async def main() -> None:
        results = flow(Camera(1, "waits").frames(), lab.window())
        assert (await anext(results)).index == 0
        waiting = asyncio.ensure_future(anext(results))
        await turns()
        assert not waiting.done()
        lab.finish(lab.started[1])
        assert (await waiting).index == 1
        await results.aclose()

    run(main())


def test_with_a_bound_of_one_a_frame_may_depend_on_the_result_before(lab: Any) -> None:
    async def main() -> None:
        seen: list[int] = []

        async def frames() -> AsyncIterator[dict[str, Any]]:
            for _ in range(4):
                yield {"x": len(seen)}

        async for result in flow(frames(), lab.window(ahead=1)):
            await asyncio.sleep(0)
            seen.append(result.index)
        assert [given["x"] for given in lab.given] == [0, 1, 2, 3]

    run(main())


def test_a_failed_frame_ends_it_in_its_turn(lab: Any) -> None:
    async def main() -> None:
        camera = Camera(0, 1, "fails", "waits", "waits")
        results = flow(camera.frames(), lab.window(ahead=8))
        found = [(await anext(results)).index for _ in range(2)]
        assert found == [0, 1]
        with pytest.raises(KernelFailed, match="frame 2: no luck"):
            await anext(results)
        assert [each async for each in results] == []

    run(main())


def test_an_error_of_the_source_comes_after_the_results_before_it(lab: Any) -> None:
    async def broken() -> AsyncIterator[dict[str, Any]]:
        yield {"x": 0}
        raise OSError("the camera is gone")

    async def main() -> None:
        results = flow(broken(), lab.window())
        assert (await anext(results)).index == 0
        with pytest.raises(OSError, match="camera"):
            await anext(results)

    run(main())


def test_cancelling_the_reader_cancels_everything(lab: Any) -> None:
    async def main() -> None:
        camera = Camera("waits", "waits")

        async def read() -> None:
            async for _ in flow(camera.frames(), lab.window()):
                raise AssertionError

        reading = asyncio.create_task(read())
        await turns()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert len(lab.given_up) == 2
        assert camera.closed

    run(main())


def test_leaving_the_loop_cancels_everything_too(lab: Any) -> None:
    async def main() -> None:
        camera = Camera(0, "waits", "waits")
        async for result in flow(camera.frames(), lab.window()):
            assert result.index == 0
            break
        await turns()  # the loop closes what was left
        assert camera.closed
        assert len(lab.given_up) == len(lab.started) - 1

    run(main())
