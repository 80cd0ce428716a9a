"""The commands of scenarios. Each takes the stage and the words that follow it."""

from collections.abc import Callable, Mapping

from qallow_agent.base.errors import InvariantBroken, QallowError
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.messages import JobOptions
from qallow_agent.mesh.trust.invites import decode_invitation, encode_invitation
from qallow_agent.testing import gateverbs
from qallow_agent.testing.client import VirtualClient
from qallow_agent.testing.effort import Order
from qallow_agent.testing.script import Words, fields, numbers, seconds
from qallow_agent.testing.simulation import Simulation
from qallow_agent.testing.stage import Stage

Verb = Callable[[Stage, Words], None]

FORMED_S: Seconds = 3.0
"""Long enough for canaries and first adverts."""


def seed(stage: Stage, words: Words) -> None:
    """``seed 7``: before any box is there."""
    stage.plan.seed = int(words[0])


def weather(stage: Stage, words: Words) -> None:
    """``weather loss=0.25 latency_s=20ms``: the network's quality from now on."""
    for key, value in fields(words).items():
        number = seconds(value) if key.endswith("_s") else float(value)
        for each in (stage.plan.weather, stage.simulation.network.weather):
            setattr(each, key, number)


def craft(stage: Stage, words: Words) -> None:
    """``craft slots=2 point_s=50ms sick=yes``: of machines that are put up from now on."""
    for key, value in fields(words).items():
        if key == "slots":
            stage.plan.craft.slots = int(value)
        elif key == "sick":
            stage.plan.craft.sick = value == "yes"
        else:
            setattr(stage.plan.craft, key, seconds(value))


def nodes(stage: Stage, words: Words) -> None:
    """``nodes 3``: a mesh of a, b, c that has been up for a while; says nothing of how."""
    stage.simulation.mesh([chr(ord("a") + number) for number in range(int(words[0]))])
    stage.simulation.settle()
    stage.simulation.run(FORMED_S)
    stage.hush()
    stage.say(f"{' '.join(stage.simulation.boxes)} are a mesh")


def found(stage: Stage, words: Words) -> None:
    """``found a``: a box whose agent founds the mesh."""
    stage.simulation.found(words[0])


def join(stage: Stage, words: Words) -> None:
    """``join b via a [roles=worker,submitter]``: with a fresh invite."""
    roles = tuple(fields(words[3:]).get("roles", "worker,submitter").split(","))
    attempt(stage, lambda: stage.simulation.join(words[0], words[2], roles=roles))


def forge(stage: Stage, words: Words) -> None:
    """``forge x via a``: knock with an invite whose secret was guessed."""
    true = decode_invitation(stage.simulation.invite(words[2]))
    guess = bytes(len(true.secret))
    forged = type(true)(true.mesh, true.contact, true.host, true.host_key, guess, true.expires_s)
    token = encode_invitation(forged)
    attempt(stage, lambda: stage.simulation.join_with(words[0], token))


def run(stage: Stage, words: Words) -> None:
    """``run 2s``: let time pass."""
    stage.simulation.run(seconds(words[0]))


def settle(stage: Stage, words: Words) -> None:
    """``settle [10s]``: wait until all books agree and all jobs are over; not longer."""
    stage.simulation.settle(seconds(words[0]) if words else 60.0)
    stage.say("settled")


def partition(stage: Stage, words: Words) -> None:
    """``partition a | b c [loud]``: a loud cut answers with resets."""
    loud = words[-1] == "loud"
    text = " ".join(words[:-1] if loud else words)
    sides = [side.split() for side in text.split("|")]
    stage.simulation.faults.partition(*sides, loud=loud)


def cut(stage: Stage, words: Words) -> None:
    """``cut a -> b``: one way only."""
    stage.simulation.faults.cut(words[0], words[2])


def heal(stage: Stage, _: Words) -> None:
    """``heal``: end every cut."""
    stage.simulation.faults.heal()


def each_box(action: Callable[[Simulation, str], None]) -> Verb:
    """Return a command that does something to every box it names."""

    def carry_out(stage: Stage, words: Words) -> None:
        for name in words:
            action(stage.simulation, name)

    return carry_out


def each_job(action: Callable[[VirtualClient], None]) -> Verb:
    """Return a command that does something to the client of every job it names."""

    def carry_out(stage: Stage, words: Words) -> None:
        for word in words:
            action(stage.client(word))

    return carry_out


def revoke(stage: Stage, words: Words) -> None:
    """``revoke b by a``."""
    attempt(stage, lambda: stage.simulation.revoke(words[2], words[0]))


def clock(stage: Stage, words: Words) -> None:
    """``clock b +1h``: set a wall clock forward or back."""
    stage.simulation.faults.step_clock(words[0], seconds(words[1]))


def disk(stage: Stage, words: Words) -> None:
    """``disk b full``, ``disk b slow=100ms``, ``disk b well``."""
    slow_s = seconds(fields(words).get("slow", "0s"))
    stage.simulation.faults.set_disk(words[0], full=words[1] == "full", slow_s=slow_s)


def crash_runner(stage: Stage, words: Words) -> None:
    """``crash-runner b``: the oldest runner of a box."""
    yard = stage.simulation.boxes[words[0]].running().yard
    yard.crash(next(iter(yard.runners)))


def submit(stage: Stage, words: Words) -> None:
    """``submit a harmonic points=100 slots=4 deadline=30s poison=3,4 hang=5 faulty=6 key=k``.

    Also ``start``, ``task_limit``, ``retries``, ``device`` and ``priority``.
    """
    given = fields(words[2:])
    options = JobOptions(
        deadline_s=seconds(given.get("deadline", "0s")),
        start_s=seconds(given.get("start", "60s")),
        task_limit_s=seconds(given.get("task_limit", "0s")),
        retries=int(given.get("retries", "3")),
        idempotency_key=given.get("key", ""),
        device=given.get("device", "any"),
        priority=int(given.get("priority", "0")),
    )
    order = Order(
        kernel=words[1],
        points=int(given.get("points", "100")),
        slots=int(given.get("slots", "4")),
        options=options,
        poison=numbers(given.get("poison", "")),
        hang=numbers(given.get("hang", "")),
        faulty=numbers(given.get("faulty", "")),
    )
    stage.simulation.submit(words[0], order)


def expect(stage: Stage, words: Words) -> None:
    """``expect members a: b alive, c dead``; ``expect job1: succeeded done=100 failed=0``.

    Raises:
        InvariantBroken: It is otherwise.
    """
    if words[0] == "members":
        observer = words[1].rstrip(":")
        is_so = stage.members(observer)
        wanted = [part.strip() for part in " ".join(words[2:]).split(",")]
        holds = all(part in is_so.split(", ") for part in wanted)
    else:
        is_so = _job(stage.client(words[0].rstrip(":")))
        holds = all(part in is_so.split() for part in words[1:])
    if not holds:
        raise InvariantBroken(f"it is: {is_so}")


def show(stage: Stage, words: Words) -> None:
    """``show members a b``, ``show drops a``, ``show job1``."""
    if words[0] == "members":
        for name in words[1:]:
            stage.say(f"{name}: {stage.members(name)}", dated=False)
    elif words[0] == "drops":
        for reason in sorted(stage.simulation.boxes[words[1]].running().transport.drops):
            stage.say(f"{words[1]} dropped {reason}", dated=False)
    else:
        client = stage.client(words[0])
        where = ", ".join(sorted(client.effort.dispatcher.share)) or "nothing"
        stage.say(f"{words[0]} is {_job(client)} on {where}", dated=False)


def attempt(stage: Stage, action: Callable[[], object]) -> None:
    """Do what may be refused, and say so if it is."""
    try:
        action()
    except InvariantBroken:
        raise
    except QallowError as error:
        stage.say(f"refused: {error.code}: {error.message}")


def _job(client: VirtualClient) -> str:
    state = "running" if client.state is None else client.state.value
    return f"{state} done={client.effort.done} failed={client.effort.failed}"


VERBS: Mapping[str, Verb] = {
    "seed": seed,
    "weather": weather,
    "craft": craft,
    "nodes": nodes,
    "found": found,
    "join": join,
    "forge": forge,
    "run": run,
    "settle": settle,
    "partition": partition,
    "cut": cut,
    "heal": heal,
    "kill": each_box(lambda simulation, name: simulation.faults.kill(name)),
    "restart": each_box(lambda simulation, name: simulation.faults.restart(name)),
    "unplug": each_box(lambda simulation, name: simulation.faults.unplug(name)),
    "plug": each_box(lambda simulation, name: simulation.faults.plug(name)),
    "freeze": each_box(lambda simulation, name: simulation.faults.freeze(name)),
    "thaw": each_box(lambda simulation, name: simulation.faults.thaw(name)),
    "leave": each_box(Simulation.leave),
    "stop": each_box(Simulation.stop),
    "revoke": revoke,
    "clock": clock,
    "disk": disk,
    "crash-runner": crash_runner,
    "pause": gateverbs.pause,
    "resume": gateverbs.resume,
    "neighbour": gateverbs.neighbour,
    "heat": gateverbs.heat,
    "gates": gateverbs.gates,
    "submit": submit,
    "vanish": each_job(VirtualClient.vanish),
    "cancel": each_job(VirtualClient.cancel),
    "expect": expect,
    "show": show,
}
"""First word -> command."""
