"""What an operator may change about membership, and why each default is what it is."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting


@dataclass(frozen=True, slots=True)
class MembershipSettings:
    """Settings of the failure detector and of the spreading of beliefs.

    Rule of thumb: ``probe_copies * copy_gap_s < relay_after_s < verdict_after_s < probe_period_s``,
    and ``relay_patience_s < verdict_after_s - relay_after_s``, or a relay's word comes too late.
    """

    probe_period_s: float = setting(
        1.0,
        "One member is probed per period; shorter finds a crash sooner and costs more traffic.",
        unit="s",
        ge=0.1,
        le=60.0,
    )
    probe_copies: int = setting(
        3, "Datagrams sent to one probed member before others are asked.", ge=1, le=5
    )
    copy_gap_s: float = setting(
        0.15, "Wait between those datagrams; above a LAN's worst round trip.", unit="s", ge=0.01
    )
    relay_after_s: float = setting(
        0.5, "A member silent this long is probed through others and the link.", unit="s", ge=0.05
    )
    relays: int = setting(3, "Members asked to probe a silent one.", ge=0, le=8)
    relay_patience_s: float = setting(
        0.3, "How long we, asked as a relay, wait before we say we hear nothing.", unit="s", ge=0.05
    )
    verdict_after_s: float = setting(
        0.9, "A member silent this long is suspected.", unit="s", ge=0.1
    )
    refused_verdict_s: float = setting(
        0.5, "The same after a refused link, when the wait starts at once.", unit="s", ge=0.1
    )
    health_limit: int = setting(
        7, "Worst score of our own health; the probe period grows to 1 + this.", ge=0, le=15
    )
    suspicion_shortest_s: float = setting(
        2.5, "Time to refute once enough members agree; survives a 3 s pause.", unit="s", ge=0.5
    )
    suspicion_longest_s: float = setting(
        10.0, "Time to refute a lone accusation.", unit="s", ge=0.5, le=300.0
    )
    suspicion_witnesses: int = setting(
        3, "Members besides the first that must agree for the shortest time.", ge=0, le=3
    )
    refused_window_s: float = setting(
        0.5, "Time to refute when two members saw the link refused.", unit="s", ge=0.1
    )
    rumour_window_s: float = setting(
        0.5, "A death we only hear of is believed after we suspected so long.", unit="s", ge=0.0
    )
    gossip_period_s: float = setting(
        0.2, "Shortest time between two rounds of gossip.", unit="s", ge=0.02
    )
    gossip_fanout: int = setting(3, "Members told per round.", ge=1, le=10)
    gossip_factor: int = setting(
        4, "A belief is told this often times ceil(log10(members + 1)).", ge=1, le=10
    )
    datagram_bytes: int = setting(
        1300, "Largest datagram, seal included; fits IPv6's 1,280 + slack of any LAN.",
        unit="B", ge=600, le=8192,
    )  # fmt: skip
    push_pull_s: float = setting(
        30.0, "Two members compare everything this often; slower above 32.", unit="s", ge=1.0
    )
    recontact_first_s: float = setting(
        1.0, "First wait before a dead member is tried again.", unit="s", ge=0.1
    )
    recontact_longest_s: float = setting(
        30.0, "Longest wait before a dead member is tried again.", unit="s", ge=1.0
    )
    recontact_share: float = setting(
        0.04,
        "That wait as a share of the time since its death: a cut of 75 s heals within 3 s.",
        ge=0.01,
        le=1.0,
    )
    tombstone_s: float = setting(
        86_400.0, "A dead or departed member is remembered this long.", unit="s", ge=60.0
    )
    stall_s: float = setting(
        0.5, "When we run this late we were frozen, and blame nobody for it.", unit="s", ge=0.1
    )
    max_members: int = setting(
        10_000, "Members remembered at most; more are ignored.", ge=2, le=100_000
    )
