import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.errors import ConfigError
from qallow_agent.config.load import load_settings
from qallow_agent.config.render import toml_value
from qallow_agent.config.schema import Settings
from qallow_agent.config.tree import entries

HOME = {"HOME": "/home/ada"}
KEYS = ["mesh.sync.peers", "mesh.transport.stream_port", "jobs.max_jobs", "mesh.trust.invites_max"]
LAYERS = st.dictionaries(st.sampled_from(KEYS), st.integers(1, 60))
SCALARS = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.lists(st.text(max_size=5), max_size=3),
)  # fmt: skip


def refused(files: list[Path], *assignments: str) -> str:
    """Return why a configuration is refused; nothing when it is taken."""
    try:
        load_settings(files, assignments=assignments, environment=HOME)
    except ConfigError as error:
        return error.message
    return ""


@settings(deadline=None, max_examples=40)
@given(file=LAYERS, variables=LAYERS, flags=LAYERS)
def test_the_strongest_source_that_speaks_decides(
    file: dict[str, int], variables: dict[str, int], flags: dict[str, int]
) -> None:
    table = entries(Settings)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "agent.toml"
        path.write_text("".join(f"{key} = {value}\n" for key, value in file.items()))
        loaded = load_settings(
            [path],
            assignments=[f"{key}={value}" for key, value in flags.items()],
            environment=HOME
            | {table[key].variable: str(value) for key, value in variables.items()},
        )
    values = loaded.values()
    for key in KEYS:
        layered = (flags, variables, file)
        expected = next((layer[key] for layer in layered if key in layer), table[key].default)
        assert values[key] == expected
        assert loaded.sources[key].split(" ")[0] == next(
            (
                name
                for name, layer in zip(("--set", "env", "file"), layered, strict=True)
                if key in layer
            ),
            "default",
        )


@settings(deadline=None, max_examples=150)
@given(key=st.sampled_from(sorted(entries(Settings))), text=st.text(max_size=30))
def test_any_text_for_any_key_is_taken_or_refused_by_name(key: str, text: str) -> None:
    refusal = refused([], f"{key}={text}")
    assert not refusal or key in refusal


@settings(deadline=None, max_examples=100)
@given(key=st.sampled_from(sorted(entries(Settings))), value=SCALARS)
def test_any_toml_value_for_any_key_is_taken_or_refused_by_name(key: str, value: object) -> None:
    shown = tuple(value) if isinstance(value, list) else value
    with TemporaryDirectory() as folder:
        path = Path(folder) / "agent.toml"
        path.write_text(f"{key} = {toml_value(shown)}\n", encoding="utf-8")  # type: ignore[arg-type]
        refusal = refused([path])
    assert not refusal or key in refusal or "not TOML" in refusal


@settings(deadline=None, max_examples=60)
@given(data=st.binary(max_size=200))
def test_any_bytes_as_a_file_are_taken_or_refused(data: bytes) -> None:
    with TemporaryDirectory() as folder, contextlib.suppress(ConfigError):
        path = Path(folder) / "agent.toml"
        path.write_bytes(data)
        load_settings([path], environment=HOME)
