import pytest

from qallow_agent.base.errors import ConfigError
from qallow_agent.base.settings import Setting
from qallow_agent.config.convert import convert
from qallow_agent.config.tree import Entry

RULE = Setting(doc="x")


def entry(name: str, kind: object, default: object) -> Entry:
    return Entry(f"room.{name}", kind, default, RULE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "kind", "default", "raw", "value"),
    [
        ("on", bool, False, "yes", True),
        ("on", bool, True, "0", False),
        ("wait_s", float, 1.0, "200ms", 0.2),
        ("wait_s", float, 1.0, "1e-2", 0.01),
        ("wait_s", float, 1.0, 3, 3.0),
        ("wait_s", int, 1, "2m", 120),
        ("limit_bytes", int, 1, "64MiB", 64 << 20),
        ("limit_bytes", int, 1, "512", 512),
        ("port", int, 1, "7946", 7946),
        ("port", int, 1, 7946.0, 7946),
        ("ratio", float, 0.1, "0.5", 0.5),
        ("name", str, "", "text", "text"),
        ("seeds", tuple[str, ...], (), "a:1, b:2,", ("a:1", "b:2")),
        ("seeds", tuple[str, ...], (), ["a", "b"], ("a", "b")),
        ("seeds", tuple[str, ...], (), "", ()),
    ],
)
def test_a_value_is_read_as_its_type_wants(
    name: str, kind: object, default: object, raw: object, value: object
) -> None:
    converted = convert(entry(name, kind, default), raw, "here")
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("name", "kind", "default", "raw"),
    [
        ("on", bool, False, "maybe"),
        ("on", bool, False, 1),
        ("port", int, 1, True),
        ("port", int, 1, "1.5"),
        ("port", int, 1, 1.5),
        ("port", int, 1, "many"),
        ("port", int, 1, "64MiB"),
        ("ratio", float, 0.1, "nan"),
        ("ratio", float, 0.1, float("inf")),
        ("wait_s", float, 1.0, "2 parsecs"),
        ("limit_bytes", int, 1, "2 shoes"),
        ("name", str, "", 5),
        ("seeds", tuple[str, ...], (), [1]),
        ("seeds", tuple[str, ...], (), {"a": 1}),
    ],
)
def test_a_value_of_another_kind_is_refused_by_key_and_source(
    name: str, kind: object, default: object, raw: object
) -> None:
    with pytest.raises(ConfigError, match=rf"room\.{name}.*here") as caught:
        convert(entry(name, kind, default), raw, "here")
    assert caught.value.hint
