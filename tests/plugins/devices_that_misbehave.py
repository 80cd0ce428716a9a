"""Device plug-ins that fail in every way but hanging at import, and one that is well."""

import threading
from collections.abc import Mapping
from typing import Any

from qallow_agent.base.plugin import PluginDevice


class Tame:
    """A plug-in that does what its fields say."""

    def __init__(self, kind: str = "asic", *devices: object, joules: float | None = None) -> None:
        self.kind = kind
        self.kernels = ("elasticity",)
        self.devices = devices or (PluginDevice(f"{kind}0", "Tame", slots=2),)
        self.joules = joules
        self.wrong = ""

    def probe(self) -> tuple[Any, ...]:
        if self.wrong:
            raise RuntimeError(self.wrong)
        return self.devices

    def energy(self, device: str) -> float | None:
        del device
        return self.joules

    def run(
        self, device: str, kernel: str, points: int, parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {"device": device, "kernel": kernel, "points": points} | dict(parameters)

    def canary(self, device: str) -> str:
        del device
        return self.wrong


class Hanging(Tame):
    def probe(self) -> tuple[Any, ...]:
        threading.Event().wait()
        return ()


TAME = Tame()
RIVAL = Tame("asic")
GRABBING = Tame("cpu")
SHOUTING = Tame("FPGA")
HANGING = Hanging("npu")
NOTHING = object()
