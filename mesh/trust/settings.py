"""Settings of trust: how long certificates live, how eagerly doors are knocked at."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """How this node admits others and keeps its own membership alive."""

    certificate_life_s: float = setting(
        90 * _DAY_S,
        "Life of a certificate this node issues. It is renewed at half of its life with any issuer "
        "that is reachable, so this is twice the longest absence a box survives.",
        unit="s",
        ge=60.0,
        le=3650 * _DAY_S,
    )
    invite_life_max_s: float = setting(
        30 * _DAY_S,
        "Longest life of an invite; a bearer secret that lives for months ends up in a wiki.",
        unit="s",
        ge=1.0,
        le=365 * _DAY_S,
    )
    invites_max: int = setting(
        256, "Most invites outstanding at once, so that the book stays small.", ge=1, le=10_000
    )
    knock_timeout_s: float = setting(
        5.0,
        "How long a knock at another node's door may take; a CURVE handshake and two signatures "
        "need four round trips and a millisecond.",
        unit="s",
        ge=0.1,
        le=60.0,
    )
    knock_backoff_s: float = setting(
        1.0, "Wait after a first failed knock; doubles from there.", unit="s", ge=0.05, le=60.0
    )
    knock_backoff_max_s: float = setting(
        30.0, "Longest wait between two knocks at one node.", unit="s", ge=0.05, le=3600.0
    )
    knocks_in_flight: int = setting(
        16, "Knocks under way at once; the rest wait their turn.", ge=1, le=256
    )
    knock_tries: int = setting(
        3,
        "Failed knocks after which a node is forgotten until somebody speaks of it again; "
        "discovery does so for ever.",
        ge=1,
        le=100,
    )
    known_max: int = setting(
        10_000, "Most members remembered; about 1 KiB of memory and one small file each.", ge=2
    )
    revocations_max: int = setting(
        10_000, "Most revocations kept; they are never forgotten, so this is a fuse.", ge=1
    )
    sweep_s: float = setting(
        60.0,
        "How often expiry and renewal are looked at, and the wait before renewal is asked again.",
        unit="s",
        ge=0.1,
        le=3600.0,
    )
