"""The same mesh under an event loop."""

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from qallow_agent.base.errors import AgentUnreachable, KernelFailed
from qallow_agent.client.aio import AsyncMesh, aconnect
from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

RAISES = 1


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main, 60)

    asyncio.run(bounded())


def test_results_can_be_awaited_together(lone: AgentProcess) -> None:
    async def main() -> None:
        async with aconnect(lone.socket) as mesh:
            futures = [mesh.submit("moody", mood=10 + number) for number in range(20)]
            results = await asyncio.gather(*futures)
            assert [int(result.value) for result in results] == list(range(10, 30))
            with pytest.raises(KernelFailed):
                await mesh.submit("moody", mood=RAISES)

    run(main())


def test_a_sweep_can_be_iterated_while_the_loop_lives(lone: AgentProcess) -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        mesh = await aconnect(lone.socket)
        async with mesh:
            grid = {"mood": range(10, 60)}
            found = [int(result.value) async for result in mesh.map("moody", grid, seconds=0.01)]
            assert found == list(range(10, 60))
            assert ticks > 10
            points = mesh.map("moody", {"mood": [10, RAISES]})
            assert int((await anext(points)).value) == 10
            with pytest.raises(KernelFailed):
                await anext(points)
            await points.aclose()
        ticking.cancel()

    run(main())


def test_cancelling_a_task_cancels_its_evaluation(lone: AgentProcess) -> None:
    async def main() -> None:
        async with aconnect(lone.socket) as mesh:
            future = mesh.submit("moody", mood=10, seconds=50.0)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(future, 0.3)
            assert int((await mesh.submit("moody", mood=11)).value) == 11

    run(main())


def test_without_an_agent_connecting_fails(tmp_path: Any) -> None:
    async def main() -> None:
        with pytest.raises(AgentUnreachable):
            await aconnect(tmp_path / "none.sock")

    run(main())


def test_a_stream_of_frames_comes_back_in_order_within_its_bound(lone: AgentProcess) -> None:
    async def main() -> None:
        drawn = 0

        async def frames() -> AsyncIterator[dict[str, Any]]:
            nonlocal drawn
            while True:
                drawn += 1
                yield {"mood": 9 + drawn}
                await asyncio.sleep(0)

        async with aconnect(lone.socket) as mesh:
            taken = 0
            async with aclosing(mesh.stream("moody", frames(), ahead=8, seconds=0.0)) as results:
                async for result in results:
                    assert (result.index, int(result.value)) == (taken, 10 + taken)
                    taken += 1
                    assert drawn - taken <= 8
                    if taken == 100:
                        break
            rows = ({"mood": mood} for mood in range(10, 40))
            found = [int(each.value) async for each in mesh.stream("moody", rows, ordered=False)]
            assert sorted(found) == list(range(10, 40))

    run(main())


def test_a_timeout_ends_a_stream_and_a_sweep_and_leaves_no_task(lone: AgentProcess) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        async with aconnect(lone.socket) as mesh:
            rows = ({"mood": mood} for mood in range(10, 40))
            await until_late(mesh.stream("moody", rows, seconds=30.0))
            await until_late(mesh.map("moody", {"mood": range(10, 40)}, seconds=30.0))
            assert int((await mesh.submit("moody", mood=11)).value) == 11
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before

    run(main())


async def until_late(results: AsyncIterator[Any]) -> None:
    """Iterate until a timeout."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await anext(results)


def test_a_sweep_is_read_in_slices_and_knows_its_job(lone: AgentProcess) -> None:
    async def main() -> None:
        async with aconnect(lone.socket) as mesh:
            results = mesh.map("moody", {"mood": range(10, 3_010)})
            assert (await results.job()).startswith("job-")
            starts = [(block.start, block.points) async for block in results.blocks()]
            assert sum(points for _, points in starts) == 3_000
            assert starts == sorted(starts)
            async with mesh.map("moody", {"mood": range(10, 3_010)}, ordered=False) as results:
                assert (await anext(results)).where == "lone/cpu0"
            assert [each async for each in results] == []

    run(main())


def test_one_connection_serves_several_loops(lone: AgentProcess) -> None:
    mesh = asyncio.run(reached(lone))

    async def main() -> None:
        rows = ({"mood": mood} for mood in range(10, 20))
        assert [int(each.value) async for each in mesh.stream("moody", rows)] == list(range(10, 20))
        assert int((await mesh.submit("moody", mood=12)).value) == 12

    threads = [threading.Thread(target=run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    run(main())
    run(mesh.close())


async def reached(lone: AgentProcess) -> AsyncMesh:
    return await aconnect(lone.socket)


def test_a_connection_given_up_while_it_is_made_leaves_no_thread(lone: AgentProcess) -> None:
    async def main() -> None:
        making = asyncio.ensure_future(reached(lone))
        await asyncio.sleep(0)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making

    run(main())
    end_s = time.monotonic() + 10
    names = ["qallow-mesh"]
    while "qallow-mesh" in names and time.monotonic() < end_s:
        gc.collect()
        names = [thread.name for thread in threading.enumerate()]
    assert "qallow-mesh" not in names
