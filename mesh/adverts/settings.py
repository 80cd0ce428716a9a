"""Settings of the advert book."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting


@dataclass(frozen=True, slots=True)
class AdvertSettings:
    """When to say again what this node can do, to whom, and how much of others' word to keep."""

    ttl_s: float = setting(
        30.0,
        "How long others believe an advert after they received it; it is renewed at half of this.",
        unit="s",
        ge=2.0,
        le=3600.0,
    )
    min_interval_s: float = setting(
        0.5,
        "Shortest time between two own adverts; changes within it are gathered into one.",
        unit="s",
        ge=0.0,
        le=60.0,
    )
    digest_period_s: float = setting(
        5.0,
        "How often one random peer is told what the book holds, so that gaps are filled.",
        unit="s",
        ge=0.2,
        le=600.0,
    )
    push_peers: int = setting(
        16, "Peers that get an own new advert at once; up to here nobody forwards.", ge=1, le=64
    )
    forward_peers: int = setting(
        3, "Peers to which another node's new advert is forwarded in a larger mesh.", ge=0, le=16
    )
    ratio_step: float = setting(
        0.1, "Change of a reading in 'ratio' (load, utilisation) that is worth an advert.", ge=0.0
    )
    relative_step: float = setting(
        0.2, "Relative change of bytes, watts, hertz, counts and rates worth an advert.", ge=0.0
    )
    temperature_step_c: float = setting(
        3.0, "Change of a temperature that is worth an advert.", unit="C", ge=0.0
    )
    max_nodes: int = setting(
        1024, "Adverts and keys kept; those of further nodes are refused.", ge=1, le=65536
    )
    max_advert_bytes: int = setting(
        16384, "A larger advert is refused unread.", unit="B", ge=1024, le=49152
    )
