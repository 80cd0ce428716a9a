"""Units, ids, contacts, readings, settings: the small words."""

import random
from dataclasses import dataclass

import pytest

from qallow_agent.base import ids
from qallow_agent.base.contact import Contact, join_address
from qallow_agent.base.errors import ConfigError, InvariantBroken
from qallow_agent.base.ids import RunnerId
from qallow_agent.base.machine import Instant, soonest
from qallow_agent.base.message import Done, Failure, Message, kind_of, kinds
from qallow_agent.base.reading import unknown
from qallow_agent.base.settings import Setting, check_bounds, setting
from qallow_agent.base.units import (
    parse_duration,
    parse_size,
    show_bytes,
    show_joules,
    show_seconds,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.5s", 1.5),
        ("200ms", 0.2),
        ("2h", 7200),
        (" 3 m ", 180),
        ("1e3us", 1e-3),
        (7, 7),
        ("7", 7),
    ],
)
def test_a_duration_is_read(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MiB", 64 << 20), ("1GB", 10**9), ("512", 512), ("2 kib", 2048), (9, 9), ("1.5KiB", 1536)],
)
def test_a_size_is_read(text: str | float, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "fast", "5 parsecs", "-1s", "1.2.3s", "s"])
def test_what_is_no_quantity_is_refused_with_the_units(text: str) -> None:
    for parse in (parse_duration, parse_size):
        with pytest.raises(ConfigError) as caught:
            parse(text)
        assert "one of" in caught.value.hint


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")]
)
def test_a_size_is_shown(count: float, text: str) -> None:
    assert show_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2e-9, "2 ns"),
        (1.25e-3, "1.25 ms"),
        (5e-5, "50 us"),
        (119, "119 s"),
        (600, "10 min"),
        (9000, "2.5 h"),
        (-0.5, "-500 ms"),
    ],
)
def test_a_duration_is_shown(seconds: float, text: str) -> None:
    assert show_seconds(seconds) == text


@pytest.mark.parametrize(
    ("joules", "text"),
    [(0.0, "0 J"), (2.5e-10, "250 pJ"), (3e-9, "3 nJ"), (1.234e-6, "1.23 uJ"), (0.05, "50 mJ"),
     (12.34, "12.3 J"), (3.6e6, "3.6 MJ"), (2.5e9, "2.5 GJ")],
)  # fmt: skip
def test_joules_have_three_digits_and_the_nearest_unit(joules: float, text: str) -> None:
    assert show_joules(joules) == text


def test_an_id_follows_from_the_key_alone() -> None:
    identity = ids.key_id(bytes(32))
    assert identity == "mzuhvlpymk6xo3epygfy5h4oea"
    assert len(identity) == ids.ID_LENGTH
    assert ids.key_id(bytes(31) + b"\x01") != identity


def test_a_drawn_id_repeats_with_its_entropy_only() -> None:
    first, again, other = (ids.draw_id("job", random.Random(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert first.startswith("job-")


def test_an_id_is_shown_in_groups_of_four() -> None:
    assert ids.show_id("abcdefghijklmnop") == "abcd efgh ijkl"


def test_reserved_senders_are_never_node_ids() -> None:
    reserved = (ids.control(1, 2), ids.door("ff"), ids.runner(RunnerId("r")), ids.STORE)
    assert all(ids.is_local(sender) for sender in reserved)
    assert not ids.is_local(ids.key_id(bytes(32)))


def test_addresses_put_brackets_around_ipv6() -> None:
    contact = Contact(("192.0.2.1", "2001:db8::1"), 1, 2)
    assert contact.addresses(2) == ("192.0.2.1:2", "[2001:db8::1]:2")
    assert join_address("box", 3) == "box:3"


def test_an_unknown_reading_says_why() -> None:
    reading = unknown("celsius", "nvml", "no NVML here")
    assert (reading.value, reading.provenance, reading.why) == (None, "unknown", "no NVML here")


def test_the_soonest_of_no_deadlines_is_never() -> None:
    assert soonest() is None
    assert soonest(None, 3.0, None, 2.0) == 2.0


def test_an_instant_tells_wall_seconds() -> None:
    assert Instant(1.0, 1_500_000_000).wall_s == 1.5


def test_two_messages_cannot_claim_one_kind() -> None:
    class Rival(Message, tag="done"):
        """Claims what another has."""

    assert kinds((Done, Failure)) == {"done": Done, "failure": Failure}
    with pytest.raises(InvariantBroken):
        kinds((Done, Rival))


def test_a_message_without_a_kind_is_our_bug() -> None:
    class Nameless(Message):
        """Says nothing of what it is."""

    with pytest.raises(InvariantBroken):
        kind_of(Nameless)


@dataclass(frozen=True, slots=True)
class Knobs:
    period_s: float = setting(1.0, "How often.", unit="s", ge=0.1, le=10.0)
    count: int = setting(3, "How many.", ge=1)
    mode: str = setting("a", "Which way.", choices=("a", "b"))
    loud: bool = setting(False, "Whether.", ge=1)
    plain: int = 0


def test_settings_within_their_bounds_pass() -> None:
    check_bounds(Knobs(period_s=0.1, count=10**9, mode="b", plain=-5), "room")


@pytest.mark.parametrize(
    ("knobs", "words", "hint"),
    [
        (Knobs(period_s=0.05), "room.period_s = 0.05 is too small", "at least 0.1s"),
        (Knobs(period_s=11.0), "room.period_s = 11.0 is too large", "at most 10.0s"),
        (Knobs(count=0), "room.count = 0 is too small", "at least 1"),
        (Knobs(mode="c"), "room.mode = 'c' is unknown", "one of a, b"),
    ],
)
def test_a_setting_out_of_bounds_names_key_value_and_bound(
    knobs: Knobs, words: str, hint: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        check_bounds(knobs, "room")
    assert caught.value.hint == hint


def test_a_setting_carries_its_documentation() -> None:
    rule = Knobs.__dataclass_fields__["period_s"].metadata["setting"]
    assert isinstance(rule, Setting)
    assert (rule.doc, rule.unit) == ("How often.", "s")
