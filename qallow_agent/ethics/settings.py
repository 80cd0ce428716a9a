"""What an operator may change about admission and audits."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting


@dataclass(frozen=True, slots=True)
class EthicsSettings:
    """Settings of the measured admission score and of the audits it rests on."""

    audit_share: float = setting(
        0.01,
        "share of small tasks that are run a second time elsewhere, after their result is "
        "delivered, and compared; 0 for none",
        ge=0,
        le=1,
    )
    audit_task_s: float = setting(
        0.1, "only tasks shorter than this are run a second time", unit="s", ge=0, le=60
    )
