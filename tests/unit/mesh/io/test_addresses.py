import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.contact import join_address
from qallow_agent.base.ids import Address
from qallow_agent.mesh.io.addresses import (
    LOOPBACK,
    advertised_hosts,
    fit_family,
    ipv4_interfaces,
    is_literal,
    split_address,
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("10.0.0.1:7946", ("10.0.0.1", 7946)),
        ("[::1]:7946", ("::1", 7946)),
        ("seed.example.org:1", ("seed.example.org", 1)),
        ("seed", None),
        (":7946", None),
        ("seed:", None),
        ("seed:0", None),
        ("seed:65536", None),
        ("seed:-1", None),
        ("seed:\u0661", None),
        ("", None),
    ],
)
def test_an_address_is_split_or_refused(text: str, parts: tuple[str, int] | None) -> None:
    assert split_address(Address(text)) == parts


@settings(deadline=None, max_examples=50)
@given(st.ip_addresses(), st.integers(1, 65535))
def test_joining_and_splitting_are_inverse(host: object, port: int) -> None:
    assert split_address(join_address(str(host), port)) == (str(host), port)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=60))
def test_no_text_breaks_the_splitting(text: str) -> None:
    split_address(Address(text))
    is_literal(text)


def test_only_ip_addresses_are_literal() -> None:
    assert is_literal("10.0.0.1")
    assert is_literal("fe80::1%eth0")
    assert not is_literal("localhost")
    assert not is_literal("")


def test_a_socket_reaches_only_what_its_family_can() -> None:
    assert fit_family("10.0.0.1", 1, socket.AF_INET) == ("10.0.0.1", 1)
    assert fit_family("::1", 1, socket.AF_INET) is None
    assert fit_family("::1", 1, socket.AF_INET6) == ("::1", 1)
    assert fit_family("10.0.0.1", 1, socket.AF_INET6) == ("::ffff:10.0.0.1", 1)


def test_loopback_is_always_an_interface() -> None:
    assert ipv4_interfaces()[-1].address == LOOPBACK


def test_a_bound_address_is_the_one_advertised() -> None:
    assert advertised_hosts("127.0.0.1") == ("127.0.0.1",)
    anywhere = advertised_hosts("0.0.0.0")  # noqa: S104 - only asked about, nothing is bound
    assert anywhere
    assert all(is_literal(host) for host in anywhere)
    assert anywhere == (LOOPBACK,) or LOOPBACK not in anywhere
    assert set(anywhere) <= {*advertised_hosts("::"), LOOPBACK}
