"""What an owner may set about the admission of work."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting


@dataclass(frozen=True, slots=True)
class EthicsSettings:
    """Settings of the policy room: whether work may be done here."""

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
    offer_s: float = setting(
        30.0,
        "How often a member is told which policy is held here, so that nobody misses one",
        unit="s",
        ge=0.1,
        le=3_600,
    )
