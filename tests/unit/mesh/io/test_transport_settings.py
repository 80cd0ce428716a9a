from dataclasses import fields

import pytest

from qallow_agent.base.errors import ConfigError
from qallow_agent.base.settings import Setting, check_bounds
from qallow_agent.mesh.io.settings import TransportSettings


def test_the_defaults_are_within_their_own_bounds() -> None:
    check_bounds(TransportSettings(), "mesh.transport")


def test_every_setting_explains_itself() -> None:
    for item in fields(TransportSettings):
        rule = item.metadata["setting"]
        assert isinstance(rule, Setting)
        assert rule.doc.endswith(".")


def test_a_port_out_of_range_is_named() -> None:
    with pytest.raises(ConfigError, match=r"mesh\.transport\.stream_port = 70000"):
        check_bounds(TransportSettings(stream_port=70000), "mesh.transport")
