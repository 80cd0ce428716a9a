"""The commands of scenarios about gates: people who pause, neighbours, heat."""

from collections.abc import Callable

from qallow_agent.ethics.messages import PauseWork, ResumeWork
from qallow_agent.node.commands import GetStatus
from qallow_agent.testing.script import Words, fields, seconds
from qallow_agent.testing.stage import Stage

Verb = Callable[[Stage, Words], None]


def pause(stage: Stage, words: Words) -> None:
    """``pause b [for=30s] [why=backup]``: its owner's word."""
    given = fields(words[1:])
    order = PauseWork(seconds(given.get("for", "0s")), given.get("why", ""))
    stage.simulation.ask(words[0], order)


def resume(stage: Stage, words: Words) -> None:
    """``resume b``."""
    stage.simulation.ask(words[0], ResumeWork())


def neighbour(stage: Stage, words: Words) -> None:
    """``neighbour b 0.6``: a person's programs take so much of a desktop's CPU."""
    craft = stage.simulation.boxes[words[0]].craft
    craft.desktop, craft.others = True, float(words[1])


def heat(stage: Stage, words: Words) -> None:
    """``heat b 3``: degrees that are left until it slows down; ``heat b off``: no thermometer."""
    craft = stage.simulation.boxes[words[0]].craft
    craft.margin_c = None if words[1] == "off" else float(words[1])


def gates(stage: Stage, words: Words) -> None:
    """``gates a``: what a box says of its own gate, and of the closed ones it knows."""
    document = getattr(stage.simulation.ask(words[0], GetStatus()), "document", {})
    own = document.get("admission") or {}
    stage.say(f"{words[0]}: {own.get('state')} at E {own.get('e')}", dated=False)
    for shut in document.get("closed", ()):
        stage.say(f"  {shut['name']} {shut['state']}: {shut['what']}", dated=False)
