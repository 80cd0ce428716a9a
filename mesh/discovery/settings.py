"""What an operator may change about discovery, and why each default is what it is."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """Settings of beacons, seeds and the address book."""

    seeds: tuple[str, ...] = setting(
        (), "Where to look for members beyond the LAN: host:port of their datagram lane."
    )
    seed_port: int = setting(7946, "Port of seeds that name none.", ge=1, le=65_535)
    beacon_first_s: float = setting(
        0.25, "Wait between the first two beacons; doubles from there.", unit="s", ge=0.05
    )
    beacon_slow_s: float = setting(
        30.0, "Wait between beacons once the mesh is known.", unit="s", ge=0.5, le=3600.0
    )
    beacon_alone_s: float = setting(
        5.0, "Longest wait between beacons while no other member is up.", unit="s", ge=0.5
    )
    answers_wanted: int = setting(
        4, "About so many members answer a stranger's beacon, however large the mesh.", ge=1
    )
    answer_gap_s: float = setting(
        0.1, "Answers are gathered this long, so that one shout serves many.", unit="s", ge=0.0
    )
    recontact_first_s: float = setting(
        1.0, "First wait before a lost member is tried again.", unit="s", ge=0.1
    )
    recontact_longest_s: float = setting(
        30.0, "Longest wait before a lost member is tried again; it is tried for ever.",
        unit="s", ge=1.0,
    )  # fmt: skip
    book_limit: int = setting(
        4096, "Addresses remembered at most; the longest unseen goes first.", ge=1, le=100_000
    )
    unmet_limit: int = setting(
        256, "Claims about members never met, remembered at most.", ge=1, le=10_000
    )
    left_kept_s: float = setting(
        86_400.0, "A member that left is remembered this long.", unit="s", ge=60.0
    )
    save_after_s: float = setting(
        1.0, "A changed book is written after this wait, so that many changes cost one write.",
        unit="s", ge=0.0,
    )  # fmt: skip
