"""The same mesh under an event loop."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from qallow_agent.base.errors import AgentUnreachable, KernelFailed
from qallow_agent.client.aio import aconnect
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
