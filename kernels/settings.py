"""Settings of the kernels room."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting


@dataclass(frozen=True, slots=True)
class KernelSettings:
    """Which kernels a node offers besides the installed plug-ins."""

    modules: tuple[str, ...] = setting(
        (),
        "Extra kernels as module:ATTRIBUTE, for kernels that no installed package announces.",
    )
    disabled: tuple[str, ...] = setting(
        (),
        "Names of kernels this node does not offer although they are installed.",
    )
