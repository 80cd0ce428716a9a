"""The gatehouse: what people are shown of gates, their own node's and those of its peers."""

from collections.abc import Iterable, Mapping
from typing import Any

from qallow_agent.base.ids import NodeId
from qallow_agent.ethics.score import Mark
from qallow_agent.ethics.signals import SIGNALS
from qallow_agent.ethics.words import show_value
from qallow_agent.mesh.wire.gate import GateReport, GateState
from qallow_agent.mesh.wire.kinds import Advert, DeviceAdvert
from qallow_agent.node.governance import Judged

Document = dict[str, Any]


def report_document(gate: GateReport | None) -> Document | None:
    """Return a gate as documents show it; None where there is none."""
    if gate is None:
        return None
    return {
        "state": gate.state.value,
        "e": gate.e,
        "s": gate.s,
        "c": gate.c,
        "h": gate.h,
        "culprits": list(gate.culprits),
        "why": gate.why,
        "fix": gate.fix,
        "policy": gate.policy.hex(),
    }


def admission(devices: Iterable[DeviceAdvert], judged: Mapping[str, Judged]) -> Document | None:
    """Return this node's score: that of its device that is least open; None before the first."""
    gates = [(device.gate.e, device.name, device.gate) for device in devices if device.gate]
    if not gates:
        return None
    _, name, gate = min(gates, key=lambda each: each[:2])
    shown = report_document(gate) or {}
    own = judged.get(name)
    if own is not None:
        shown |= {"needed": own.verdict.needed, "solo": own.score.solo}
    return {"device": name} | shown


def closed(adverts: Mapping[NodeId, Advert], names: Mapping[NodeId, str]) -> list[Document]:
    """Return one row for each node of which a gate is closed: the nearest to open of its devices.

    Args:
        adverts: By node.
        names: Of nodes, for people.
    """
    rows: list[Document] = []
    for node, advert in sorted(adverts.items()):
        shut = [
            (device.gate.e, device.name, device.gate)
            for device in advert.devices
            if device.gate is not None and device.gate.state is not GateState.OPEN
        ]
        if not shut:
            continue
        e, device, gate = max(shut, key=lambda each: each[:2])
        rows.append(
            {
                "node": node,
                "name": names.get(node, node),
                "device": device,
                "state": gate.state.value,
                "e": e,
                "what": gate.why,
                "fix": gate.fix,
            }
        )
    return rows


def signals(judged: Judged | None) -> list[Document]:
    """Return what each signal came to, in the order of their table."""
    return [] if judged is None else [_signal(mark) for mark in judged.score.marks]


def _signal(mark: Mark) -> Document:
    signal = SIGNALS[mark.signal]
    return {
        "signal": mark.signal,
        "name": signal.name,
        "value": mark.value,
        "unit": signal.unit,
        "shown": show_value(mark.value, signal.unit),
        "thousandths": mark.thousandths,
        "provenance": mark.provenance,
        "source": mark.source,
        "stop": mark.stop,
        "why": mark.why,
    }
