"""Settings of the ledger."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """The log that each node keeps of what it decided."""

    epoch_s: float = setting(
        1.0,
        "How long entries gather before one signed checkpoint covers them; nothing is signed "
        "while nothing is written. What a crash loses was never signed.",
        unit="s",
        ge=0.01,
        le=60.0,
    )
    lattice_s: float = setting(
        30.0,
        "How often a checkpoint is also signed with ML-DSA-44, which no quantum computer is known "
        "to break; it covers everything before it. 0: never.",
        unit="s",
        ge=0.0,
        le=3600.0,
    )
    retain_days: int = setting(
        0,
        "Entries older than this are deleted once a day; their hashes and all heads stay, so that "
        "the rest is proved as before. 0: nothing is deleted.",
        ge=0,
        le=36_500,
    )
    mirrors: int = setting(
        3,
        "How many other nodes keep each log; 2f + 1 of them outlive f. 0: none, and this node "
        "keeps nobody's.",
        ge=0,
        le=31,
    )
    mirror_s: float = setting(
        30.0, "How often a mirror asks for what is new.", unit="s", ge=1.0, le=3600.0
    )
