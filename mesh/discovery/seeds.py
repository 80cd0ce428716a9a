"""Seeds: addresses that an operator wrote down, because no beacon reaches them."""

from qallow_agent.base.contact import join_address
from qallow_agent.base.errors import ConfigError
from qallow_agent.base.ids import Address

_PORT_LIMIT = 65_535


def parse_seeds(seeds: tuple[str, ...], default_port: int) -> tuple[Address, ...]:
    """Return the addresses that some seeds name, each once, in the order given.

    A seed is ``host``, ``host:port``, ``[v6]`` or ``[v6]:port``; names are resolved by the
    transport, anew each time, so that a headless Service or a changed record is followed.

    Raises:
        ConfigError: A seed is none of these; the message names it.
    """
    return tuple(dict.fromkeys(_parse(seed.strip(), default_port) for seed in seeds))


def _parse(seed: str, default_port: int) -> Address:
    host, port = _split(seed)
    port = port or str(default_port)
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= _PORT_LIMIT:
        raise ConfigError(
            f"seed {seed!r} is no address", hint='write "host:port", or "[v6]:port" for IPv6'
        )
    return join_address(host, int(port))


def _split(seed: str) -> tuple[str, str]:
    if seed.startswith("["):
        host, bracket, rest = seed[1:].partition("]")
        if bracket and (rest == "" or rest.startswith(":")):
            return host, rest[1:] if rest else ""
        return "", seed
    if seed.count(":") > 1:
        return seed, ""
    host, colon, port = seed.partition(":")
    return (host, port) if not colon or port else ("", seed)
