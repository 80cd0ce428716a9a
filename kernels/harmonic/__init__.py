"""The harmonic simulation: a ring of pockets whose phases and coherences pull on each other.

Per tick, in float32, rounded after every operation, from the old values, with cyclic neighbours L
and R, N pockets, coupling k and the mean ``m = (sum p_i) / N`` of the old phases::

    b  = (0.0004 + k * 0.25) + clamp(1 - h, 0, 1) * 0.0003
    p_i <- (p_i + (k * 120) * (0.5 * (p_L + p_R) - p_i)) - ((k * 15) * p_i) * 0.01
    c_i <- clamp((c_i + (k * 60) * (0.5 * (c_L + c_R) - c_i)) + b, 0, 1)
    D = sum abs(p_i' - m);  En = sum (0.5 * x_i) * x_i, x_i = p_i' - m;  A = sum c_i'
    h <- h * 0.85 + (D / N) * 0.15

from ``p_i = (i / N) * 0.4``, ``c_i = 0.78 + 0.02 * (i mod 3)``, ``h = (sum abs(p_i - m)) / N``.
Up to 32 pockets the sums are sequential float32, ascending; above they are float64 partial sums in
a fixed order (``reference.total``), so that results never depend on threads or machines. Version 2
made their chunks smaller.
"""

from qallow_agent.kernels.harmonic.stability import stable_coupling
from qallow_agent.kernels.recording import MAX_TICKS, records
from qallow_agent.kernels.spec import (
    Canary,
    Cost,
    Extremes,
    Kernel,
    KernelSpec,
    Output,
    Parameter,
    Stages,
    Values,
)

MAX_POCKETS = 1 << 24
"""Beyond it, a pocket's number has no exact float32 and the start phases would repeat."""

OPS_PER_POCKET_TICK = 25
"""Adds, multiplies, clamp bounds and absolute values of the updates and sums of one pocket."""

ATOL = 2e-6
"""What contracting multiply-adds may change in averages at a stable coupling."""


def dimensions(values: Values) -> dict[str, int]:
    """Return the number of recorded ticks."""
    return {"records": records(values)}


def cost(values: Values) -> Cost:
    """Return the cost of one run: two float32 a pocket in two buffers is the scratch memory."""
    pockets = int(values["pockets"])
    steps = float(pockets * values["ticks"])
    return Cost(ops=OPS_PER_POCKET_TICK * steps, scratch_bytes=16 * (pockets + 2), steps=steps)


def advise(values: Values, extremes: Extremes) -> tuple[str, ...]:
    """Warn of couplings at which the phases grow without bound."""
    pockets = int(values["pockets"])
    greatest = extremes.get("coupling", (0.0, float(values["coupling"])))[1]
    bound = stable_coupling(pockets)
    if greatest <= bound:
        return ()
    warning = (
        f"coupling {greatest:.6g} is unstable for {pockets} pockets (stable up to {bound:.6g}): "
        "phases grow until they overflow; such results are flagged stable = false"
    )
    return (warning,)


SPEC = KernelSpec(
    name="harmonic",
    version=2,
    doc="A ring of coupled pockets: average coherence, phase drift and phase energy.",
    parameters=(
        Parameter(
            "pockets", "i8", 8, ge=2, le=MAX_POCKETS, doc="Pockets in the ring.", sweepable=False
        ),
        Parameter(
            "ticks", "i8", 400, ge=1, le=MAX_TICKS, doc="Ticks to simulate.", sweepable=False
        ),
        Parameter("coupling", "f4", 1e-3, ge=0, doc="How strongly neighbours pull."),
        Parameter(
            "record_every", "i8", 0, ge=0, le=MAX_TICKS, unit="ticks", sweepable=False,
            doc="Record every n-th tick and the last; 0 records only the last.",
        ),
    ),
    outputs=(
        Output("tick", "i8", ("records",), doc="Recorded tick, counted from 1."),
        Output("avg_coherence", "f4", ("records",), doc="A / N", atol=ATOL),
        Output("phase_drift", "f4", ("records",), doc="D / N", atol=ATOL),
        Output("phase_energy", "f4", ("records",), doc="En", atol=1e-6, rtol=1e-4),
        Output("S", "f8", ("records",), doc="clamp(A / N, 0, 1)", atol=ATOL),
        Output("C", "f8", ("records",), doc="clamp(1 - D / N, 0, 1)", atol=ATOL),
        Output(
            "H", "f8", ("records",), doc="clamp(1 - clamp(En / N, 0, 1), 0, 1)", atol=ATOL,
            rtol=1e-4,
        ),
        Output("E", "f8", ("records",), doc="(S + C) + H", atol=3 * ATOL, rtol=1e-4),
        Output(
            "converged_tick", "i8", atol=1,
            doc="First tick at which the average coherence changes by less than 0.001 and the "
            "drift is below 0.001; 0 for never.",
        ),
        Output(
            "convergence_rate", "f8", unit="1/tick", atol=ATOL,
            doc="Share of the first tick's drift shed per tick until convergence, or the end.",
        ),
        Output("stable", "b1", doc="Whether the coupling is within the stable range."),
    ),
    cost=cost,
    dimensions=dimensions,
    advise=advise,
    op="float32 operation",
    step="pocket's tick",
    parallel_points=64,
)  # fmt: skip

CANARY = Canary(
    scalars={"pockets": 32, "ticks": 150},
    columns={"coupling": (0.0, 0.001, 0.005)},
    answers={
        "avg_coherence": (0.8998774886131287, 0.9385765790939331, 1.0),
        "phase_drift": (0.10000000894069672, 0.056659258902072906, 0.012745002284646034),
        "phase_energy": (0.21312500536441803, 0.06425502151250839, 0.003196343081071973),
        "E": (2.7932173013687134, 2.879909336566925, 2.9871550798416138),
    },
    copies=128,
)

KERNEL = Kernel(
    spec=SPEC,
    backends={
        "reference": "qallow_agent.kernels.harmonic.reference:run",
        "cpu": "qallow_agent.kernels.harmonic.cpu:run",
        "cuda": "qallow_agent.kernels.harmonic.cuda:run",
    },
    canary=CANARY,
    module=__name__,
    sources=(
        "qallow_agent.kernels.board",
        "qallow_agent.kernels.harmonic.cuda_large",
        "qallow_agent.kernels.harmonic.cuda_small",
        "qallow_agent.kernels.harmonic.cuda_steps",
        "qallow_agent.kernels.harmonic.lanes",
        "qallow_agent.kernels.harmonic.layout",
        "qallow_agent.kernels.harmonic.outputs",
        "qallow_agent.kernels.harmonic.ring",
        "qallow_agent.kernels.harmonic.single",
        "qallow_agent.kernels.harmonic.stability",
        "qallow_agent.kernels.harmonic.staged",
        "qallow_agent.kernels.harmonic.strip",
        "qallow_agent.kernels.recording",
    ),
    bench={"ticks": 2_000},
    stages=Stages(
        {
            "reference": "qallow_agent.kernels.harmonic.reference",
            "cpu": "qallow_agent.kernels.harmonic.staged",
        }
    ),
)
