"""What a person can do about each signal, the cheapest first, in words that follow "you can"."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Remedy:
    """One thing that a person can do about a signal.

    Args:
        text: What to do.
        command: How, where a command does it.
    """

    text: str
    command: str = ""


_MEASURE = Remedy("let the agent read sensors; doctor says what it misses", "qallow-agent doctor")
_CLOSE = Remedy("close other programs on the box, or run this when they rest")

REMEDIES: Mapping[str, tuple[Remedy, ...]] = MappingProxyType({
    "s1": (
        Remedy("ask for fewer slots, so that the job draws less"),
        Remedy("raise the power cap of the device, if its supply allows"),
    ),
    "s2": (
        Remedy("let the device cool down: clear its airflow, cool the room"),
        Remedy("ask for fewer slots, so that the job heats less"),
    ),
    "s2.slowdown": (Remedy("let the device cool down until it runs at full speed again"),),
    "s2.shutdown": (Remedy("find out why the device overheated before it works again"),),
    "s3": (Remedy("let placement choose the device, or give the job a later deadline"),),
    "s4": (
        Remedy("wait for the budget's next window, or ask for less work at a time"),
        Remedy("raise the node's energy budget: ethics.budget_joules"),
    ),
    "s4.charge": (Remedy("plug the box in"),),
    "s5": (Remedy("run it in a cheaper hour: give the job a later deadline"),),
    "s0": (_MEASURE,),
    "c1.cpu": (_CLOSE,),
    "c1.io": (Remedy("let the disks come to rest: others wait for them"),),
    "c1.memory": (Remedy("free memory: others wait for it"), _CLOSE),
    "c2": (Remedy("leave the box alone for a few minutes, or consent in the policy"),),
    "c3": (_CLOSE,),
    "c4.use": (Remedy("close other programs that use the GPU"),),
    "c4.memory": (
        Remedy("give the job smaller batches, so that it needs less GPU memory"),
        Remedy("close other programs that use the GPU"),
    ),
    "c5": (Remedy("find what keeps the box from waking up in time", "qallow-agent doctor"),),
    "c6": (Remedy("wait for the end of the quiet hours, or ask the owner to consent"),),
    "c7": (Remedy("run it in a zone where its data may be"),),
    "c8": (Remedy("ask the owner to resume", "qallow-agent resume"),),
    "c0": (_MEASURE,),
    "h1": (Remedy("set the clock of the box: run chrony or ntpd", "qallow-agent doctor"),),
    "h2": (Remedy("test the device: its results differ from those of others",
                  "qallow-agent kernels test"),),
    "h3": (Remedy("let the node hear the mesh's policy, or upgrade it", "qallow-agent peers"),),
    "h4": (Remedy("look who is not seen by all, and by which link", "qallow-agent peers"),),
    "h5": (Remedy("keep the evidence, then let the box join anew with fresh keys"),),
    "h0": (Remedy("bring back the link to the other nodes", "qallow-agent peers"),),
})  # fmt: skip
