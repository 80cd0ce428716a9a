"""What an owner may set about admission and audits."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting


@dataclass(frozen=True, slots=True)
class EthicsSettings:
    """Settings of the measured admission score and of the audits it rests on."""

    preset: str = setting(
        "auto",
        "What kind of box this is: 'desktop' where people work, 'dedicated' where nobody does, "
        "'field' on batteries and slow links; auto looks for a seat with a session.",
        choices=("auto", "dedicated", "desktop", "field"),
    )
    policy_file: str = setting(
        "",
        "The owner's own policy of this node, which can only be stricter than the mesh's; empty: "
        "what 'qallow-agent policy set --local' left.",
    )
    budget_joules: float = setting(
        0.0,
        "Joules that this node's devices may draw in a window, idle power included; 0 for no "
        "budget. Needs energy meters: 'qallow-agent doctor' says whether there are any.",
        unit="J",
        ge=0,
    )
    budget_window_s: float = setting(
        86_400.0,
        "How long a window of the energy budget is; windows begin at whole multiples of it (UTC).",
        unit="s",
        ge=60,
        le=31_536_000,
    )
    offer_s: float = setting(
        30.0,
        "How often a member is told which policy is held here, so that nobody misses one",
        unit="s",
        ge=0.1,
        le=3_600,
    )
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
