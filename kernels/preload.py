"""Imported once by the process that forks runners, so that each fork finds everything warm.

Importing a CPU backend compiles its functions or loads them from the cache, and imports numba and
numpy on the way. All of them are serial, so a fork is safe afterwards.
"""

from qallow_agent.kernels import elasticity, harmonic
from qallow_agent.kernels.backends import load_backend

WARM = tuple(
    load_backend(kernel, name)
    for kernel in (elasticity.KERNEL, harmonic.KERNEL)
    for name in ("reference", "cpu")
)
"""The built-in backends, ready to be called."""
