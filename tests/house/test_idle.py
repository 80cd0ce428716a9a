import subprocess
import sys

import pytest

HEAVY = ("asyncio", "llvmlite", "numba", "numpy", "pynvml")


def loaded(program: str) -> list[str]:
    """Return the top-level modules that a fresh interpreter holds after a program."""
    tail = "\nimport sys; print('|'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program + tail], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1].split("|")


@pytest.mark.parametrize(
    "program",
    [
        "import qallow_agent.assembly",
        "from qallow_agent.kernels.registry import load_catalog; load_catalog()",
        "from qallow_agent.cli.main import main; main(['status', '--help'])",
        "from qallow_agent.cli.main import main; main(['kernels', 'ls'])",
        "from qallow_agent.client.control import ControlLink",
    ],
)
def test_who_computes_nothing_loads_no_numerics(program: str) -> None:
    modules = loaded(program)
    assert [name for name in HEAVY if name in modules] == []


def test_the_command_line_starts_without_the_agent() -> None:
    modules = loaded("from qallow_agent.cli.main import main; main(['--version'])")
    assert [name for name in ("zmq", "cryptography", "psutil", *HEAVY) if name in modules] == []


def test_a_client_that_only_asks_loads_no_cryptography() -> None:
    modules = loaded("from qallow_agent.cli.main import main; main(['status', '--help'])")
    assert "cryptography" not in modules
