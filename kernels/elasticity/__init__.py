"""The elasticity simulation: how coherence, entropy and decoherence settle under a stretch.

Per tick, in float32, rounded after every operation, with ``s = clamp(eps, 0, 0.01)``::

    e <- clamp((e - 1e-6) + s * 2e-7, 0, 1e-3)
    c <- clamp(1 - e * 0.2, 0, 1)
    d <- clamp(d * (1 - 5e-4) + s * 1e-7, 0, 1e-3)

from ``c = 0.9999, e = 7e-4, d = 9e-6``. Scores, widened to float64: ``S = c``, ``C = 1 - e``,
``H = 1 - d``, ``E = (S + C) + H``.
"""

from qallow_agent.kernels.recording import MAX_TICKS, records
from qallow_agent.kernels.spec import (
    Canary,
    Cost,
    Kernel,
    KernelSpec,
    Output,
    Parameter,
    Stages,
    Values,
)

OPS_PER_TICK = 12
"""Adds, multiplies and clamp bounds of the three updates."""

ATOL = 1e-6
"""What contracting multiply-adds may change; measured on GPUs."""


def dimensions(values: Values) -> dict[str, int]:
    """Return the number of recorded ticks."""
    return {"records": records(values)}


def cost(values: Values) -> Cost:
    """Return the cost of one run."""
    ticks = float(values["ticks"])
    return Cost(ops=OPS_PER_TICK * ticks, scratch_bytes=64, steps=ticks)


SPEC = KernelSpec(
    name="elasticity",
    version=1,
    doc="Coherence, entropy and decoherence settling under a constant stretch.",
    parameters=(
        Parameter(
            "ticks", "i8", 1000, ge=1, le=MAX_TICKS, doc="Ticks to simulate.", sweepable=False
        ),
        Parameter("eps", "f4", 1e-4, doc="Stretch; used clamped to [0, 0.01]."),
        Parameter(
            "record_every", "i8", 0, ge=0, le=MAX_TICKS, unit="ticks", sweepable=False,
            doc="Record every n-th tick and the last; 0 records only the last.",
        ),
    ),
    outputs=(
        Output("tick", "i8", ("records",), doc="Recorded tick, counted from 1."),
        Output("coherence", "f4", ("records",), doc="c", atol=ATOL),
        Output("entropy", "f4", ("records",), doc="e", atol=ATOL),
        Output("decoherence", "f4", ("records",), doc="d", atol=ATOL),
        Output("stretch", "f4", ("records",), doc="s, the clamped eps"),
        Output("S", "f8", ("records",), doc="c", atol=ATOL),
        Output("C", "f8", ("records",), doc="1 - e", atol=ATOL),
        Output("H", "f8", ("records",), doc="1 - d", atol=ATOL),
        Output("E", "f8", ("records",), doc="(S + C) + H", atol=3 * ATOL),
    ),
    cost=cost,
    dimensions=dimensions,
    op="float32 operation",
    step="tick",
)  # fmt: skip

CANARY = Canary(
    scalars={"ticks": 300},
    columns={"eps": (0.0, 1e-4, 0.01)},
    answers={
        "coherence": (0.9999200105667114, 0.9999200105667114, 0.9999198913574219),
        "entropy": (0.000399997690692544, 0.00040000028093345463, 0.00040059396997094154),
        "decoherence": (7.746025403321255e-06, 7.748814823571593e-06, 8.02479735284578e-06),
        "E": (2.999512255191803, 2.999512255191803, 2.999511241912842),
    },
    copies=1024,
)

KERNEL = Kernel(
    spec=SPEC,
    backends={
        "reference": "qallow_agent.kernels.elasticity.reference:run",
        "cpu": "qallow_agent.kernels.elasticity.cpu:run",
        "cuda": "qallow_agent.kernels.elasticity.cuda:run",
    },
    canary=CANARY,
    module=__name__,
    sources=(
        "qallow_agent.kernels.board",
        "qallow_agent.kernels.elasticity.staged",
        "qallow_agent.kernels.recording",
    ),
    bench={"ticks": 20_000},
    stages=Stages(
        {
            "reference": "qallow_agent.kernels.elasticity.reference",
            "cpu": "qallow_agent.kernels.elasticity.staged",
        }
    ),
)
