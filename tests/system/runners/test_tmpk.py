import time, pytest
from qallow_agent.jobs.local import Forbid
from qallow_agent.jobs.parcels import ArrayHead, TaskHead

@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("forbid", [0, 1])
@pytest.mark.parametrize("wait", [0.25, 0.0, 1.0])
def test_next(dial, world, columns, forbid, wait):
    first = dial("sleeps" if not columns else "echo")
    for n in range(4):
        if columns:
            first.send(TaskHead(n, 1, 3, {}, (ArrayHead("value", "f4", (3,)),), ()), frames=(__import__("numpy").array([1,2,3],"<f4").tobytes(),))
        else:
            first.post(n, seconds=0.4)
    if not columns:
        world.await_busy(first.runner, 0)
    time.sleep(wait)
    first.close()
    if forbid:
        world.yard.tell(f"@runner/{first.runner}", Forbid(first.lease))
    time.sleep(2)
    second = type(first)(world, first.runner, first.ready)
    second.lease = "lease-two"
    second.allow("echo")
    second.dial()
    second.post(7, value=3.0)
    print(second.results(1))
    second.close()
