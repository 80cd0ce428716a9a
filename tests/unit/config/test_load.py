from pathlib import Path

import pytest

from qallow_agent.base.errors import ConfigError
from qallow_agent.config.load import find_socket, load_settings, suggest

HOME = {"HOME": "/home/ada"}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_at_all_is_a_working_configuration() -> None:
    loaded = load_settings(environment=HOME)
    assert loaded.settings.node.state_dir == "/home/ada/.local/state/qallow"
    assert loaded.settings.node.socket == "/home/ada/.local/state/qallow/agent.sock"
    assert loaded.settings.node.name
    assert loaded.sources["mesh.sync.pulse_s"] == "default"


def test_later_sources_win_and_are_remembered(tmp_path: Path) -> None:
    first = write(tmp_path / "a.toml", "[mesh.sync]\npulse_s = '200ms'\npeers = 4\n")
    second = write(tmp_path / "b.toml", "[mesh.sync]\npulse_s = 0.3\ndrift_ppm = 100\n")
    loaded = load_settings(
        [first, second],
        assignments=["mesh.sync.slow_factor=3"],
        environment=HOME | {"QALLOW_MESH__SYNC__PEERS": "5", "QALLOW_MESH__SYNC__SLOW_FACTOR": "4"},
    )
    sync = loaded.settings.mesh.sync
    assert (sync.pulse_s, sync.peers, sync.drift_ppm, sync.slow_factor) == (0.3, 5, 100.0, 3.0)
    assert loaded.sources["mesh.sync.pulse_s"] == f"file {second}"
    assert loaded.sources["mesh.sync.peers"] == "env QALLOW_MESH__SYNC__PEERS"
    assert loaded.sources["mesh.sync.slow_factor"] == "--set"


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.toml", "[mesh.sync]\npulse = 1\n")
    with pytest.raises(ConfigError, match=r"unknown setting 'mesh.sync.pulse'.*a\.toml") as caught:
        load_settings([path], environment=HOME)
    assert caught.value.hint == "did you mean mesh.sync.pulse_s?"


def test_a_key_in_the_wrong_section_is_found_by_its_name() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(assignments=["stream_port=1"], environment=HOME)
    assert "mesh.transport.stream_port" in caught.value.hint


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("QALLOW_MESH__SYNC__PULS_S", "QALLOW_MESH__SYNC__PULSE_S"),
        ("QALLOW_NODE_NAME", "QALLOW_NODE__NAME"),
    ],
)
def test_a_misspelt_variable_is_refused(variable: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=variable) as caught:
        load_settings(environment=HOME | {variable: "1"})
    assert meant in caught.value.hint


def test_variables_that_others_set_are_left_alone() -> None:
    kubernetes = {"QALLOW_PORT_7946_TCP": "tcp://10.0.0.1:7946", "QALLOW_SERVICE_HOST": "10.0.0.1"}
    load_settings(environment=HOME | kubernetes | {"QALLOW_TIMEOUT": "3s"})


def test_a_value_out_of_bounds_names_key_bounds_and_source() -> None:
    with pytest.raises(ConfigError, match=r"mesh.transport.stream_port = 70000.*--set") as caught:
        load_settings(assignments=["mesh.transport.stream_port=70000"], environment=HOME)
    assert "65535" in caught.value.hint


def test_a_choice_lists_the_others() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(assignments=["node.log_level=loud"], environment=HOME)
    assert "debug" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["not toml", "[node]\nname = 1\n", "node = 3\n", "\x00", "[mesh.sync]\npulse_s = nan"]
)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "broken.toml", text)
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        load_settings([path], environment=HOME)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml cannot be read"):
        load_settings([tmp_path / "gone.toml"], environment=HOME)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "noise.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_settings([path], environment=HOME)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "huge.toml", "#" * (1 << 20) + "\n")
    with pytest.raises(ConfigError, match="larger than"):
        load_settings([path], environment=HOME)


def test_an_assignment_without_equals_is_explained() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(assignments=["node.name"], environment=HOME)
    assert "key=value" in caught.value.hint


@pytest.mark.parametrize("name", ["a/b", "-x", "a b", "x" * 64, "ä"])
def test_a_name_that_would_confuse_people_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name"):
        load_settings(assignments=[f"node.name={name}"], environment=HOME)


def test_files_named_by_a_variable_are_read_in_order(tmp_path: Path) -> None:
    first = write(tmp_path / "a.toml", "[node]\nname = 'one'\nmesh_name = 'first'\n")
    second = write(tmp_path / "b.toml", "[node]\nname = 'two'\n")
    loaded = load_settings(environment=HOME | {"QALLOW_CONFIG": f"{first}:{second}"})
    assert (loaded.settings.node.name, loaded.settings.node.mesh_name) == ("two", "first")


def test_the_users_own_file_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "qallow"
    folder.mkdir()
    write(folder / "agent.toml", "[node]\nname = 'mine'\n")
    loaded = load_settings(environment=HOME | {"XDG_CONFIG_HOME": str(tmp_path)})
    assert loaded.settings.node.name == "mine"


def test_systemd_decides_the_state_directory() -> None:
    loaded = load_settings(environment=HOME | {"STATE_DIRECTORY": "/var/lib/qallow:/other"})
    assert loaded.settings.node.state_dir == "/var/lib/qallow"


def test_a_relative_xdg_home_is_ignored_as_the_standard_asks() -> None:
    loaded = load_settings(environment=HOME | {"XDG_STATE_HOME": "relative"})
    assert loaded.settings.node.state_dir == "/home/ada/.local/state/qallow"


def test_the_socket_variable_wins_over_files_but_not_over_a_flag(tmp_path: Path) -> None:
    path = write(tmp_path / "a.toml", "[node]\nsocket = '/file.sock'\n")
    environment = HOME | {"QALLOW_SOCKET": "/variable.sock"}
    loaded = load_settings([path], environment=environment)
    assert loaded.settings.node.socket == "/variable.sock"
    loaded = load_settings([path], assignments=["node.socket=/flag.sock"], environment=environment)
    assert loaded.settings.node.socket == "/flag.sock"


def test_a_local_program_finds_the_socket_by_the_same_rules(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("QALLOW_SOCKET", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("qallow_agent.config.paths.SYSTEM_STATE", tmp_path / "system")
    assert find_socket() == tmp_path / "qallow" / "agent.sock"
    assert find_socket("/named.sock") == Path("/named.sock")
    monkeypatch.setenv("QALLOW_SOCKET", "/variable.sock")
    assert find_socket() == Path("/variable.sock")


def test_a_user_without_an_agent_means_the_machines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system = tmp_path / "system"
    system.mkdir()
    (system / "agent.sock").touch()
    monkeypatch.delenv("QALLOW_SOCKET", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("qallow_agent.config.paths.SYSTEM_STATE", system)
    assert find_socket() == system / "agent.sock"


def test_a_bind_address_that_is_none_is_refused_before_the_start() -> None:
    with pytest.raises(ConfigError, match=r"mesh.transport.bind = 'lan' \(--set\) is no IP"):
        load_settings(assignments=["mesh.transport.bind=lan"], environment={})


def test_a_table_is_not_taken_for_a_setting() -> None:
    known = ["mesh.transport.bind", "mesh.transport.beacon", "node.name"]
    assert suggest("mesh.transport", known) == "[mesh.transport] is a table, with bind, beacon"
    assert suggest("mesh.transprt", known) == "did you mean [mesh.transport]?"
    assert suggest("mesh.transprt.bind", known) == "did you mean mesh.transport.bind?"
    assert suggest("mesh.transport.bnid", known) == "did you mean mesh.transport.bind?"
