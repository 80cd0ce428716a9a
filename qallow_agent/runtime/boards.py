"""CUDA boards: whether kernels can run on them here, and which of them a runner sees."""

import importlib.util
import re
from collections.abc import MutableMapping

from qallow_agent.base.complaint import NOTHING, Complaint
from qallow_agent.base.errors import DeviceError

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"
"""Source: CUDA Programming Guide, CUDA environment variables."""

NO_CUDA_KERNELS = Complaint(
    "no kernel here has a CUDA version", "install a kernel package with a 'cuda' backend"
)
NO_NUMBA_CUDA = Complaint(
    "CUDA kernels need the package numba-cuda",
    "pip install 'qallow-agent[gpu]' and restart the agent, or leave GPUs alone: devices.gpu=off",
)

_DIGITS = re.compile(r"\d+$")


def why_no_cuda(kinds: tuple[str, ...]) -> Complaint:
    """Return why no kernel can run on a CUDA board here, with the fix; nothing when some can.

    Args:
        kinds: Device kinds that some kernel here has a backend for.
    """
    if "cuda" not in kinds:
        return NO_CUDA_KERNELS
    if importlib.util.find_spec("numba_cuda") is None:
        return NO_NUMBA_CUDA
    return NOTHING


def choose_board(device: str, environment: MutableMapping[str, str]) -> None:
    """Let this process see one board only; before it first asks CUDA for anything.

    NVML, which names the boards, counts them along the PCI bus; CUDA by itself begins with the
    fastest. What the owner of the machine made visible stays the choice: of numbers the one that
    the device has, of names (``GPU-...``, ``MIG-...``) the one in its place.

    Args:
        device: ``gpu0``, ``gpu1``, ... as in its advert.
        environment: That of this process.

    Raises:
        DeviceError: The device has no number, or its owner left it out.
    """
    digits = _DIGITS.search(device)
    if digits is None:
        raise DeviceError(f"device {device!r} has no number by which CUDA could find it")
    number, board = int(digits[0]), str(int(digits[0]))
    granted = [item.strip() for item in environment.get(VISIBLE, board).split(",")]
    if any(item[:1].isalpha() for item in granted):
        board = granted[number] if number < len(granted) else ""
    elif board not in granted:
        board = ""
    if not board:
        raise DeviceError(
            f"{VISIBLE}={environment[VISIBLE]} leaves {device} out",
            hint=f"start the agent without {VISIBLE}, or with that board in it",
        )
    environment[ORDER] = "PCI_BUS_ID"
    environment[VISIBLE] = board
