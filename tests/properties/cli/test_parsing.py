import contextlib
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.errors import UserError
from qallow_agent.cli.inputs import parse_sweep, parse_value, read_inputs
from qallow_agent.cli.kernels import Shape
from qallow_agent.cli.output import fit

SHAPES = {"whole": Shape("i4"), "real": Shape("f4"), "flag": Shape("b1"), "row": Shape("f8", 1)}
NAMES = st.sampled_from([*SHAPES, "unknown"])


@settings(deadline=None)
@given(name=NAMES, text=st.text(max_size=30))
def test_any_value_is_taken_or_refused(name: str, text: str) -> None:
    with contextlib.suppress(UserError):
        parse_value(name, text, SHAPES.get(name))


@settings(deadline=None)
@given(name=NAMES, rule=st.text(alphabet="0123456789.:-e,log", max_size=12))
def test_any_sweep_is_taken_or_refused(name: str, rule: str) -> None:
    with contextlib.suppress(UserError):
        _, axis = parse_sweep(f"{name}={rule}"[:20], SHAPES)
        assert axis.ndim == 1


@settings(deadline=None, max_examples=60)
@given(kind=st.sampled_from(["json", "toml", "csv", "npz", "parquet"]), data=st.binary(max_size=80))
def test_any_file_is_taken_or_refused(kind: str, data: bytes) -> None:
    with TemporaryDirectory() as folder, contextlib.suppress(UserError):
        path = Path(folder) / f"a.{kind}"
        path.write_bytes(data)
        read_inputs(SHAPES, [], [path])


@settings(deadline=None, max_examples=60)
@given(cut=st.integers(0, 400), flip=st.integers(0, 400))
def test_a_damaged_archive_is_taken_or_refused(cut: int, flip: int) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, real=np.arange(4.0))
    data = bytearray(buffer.getvalue()[: cut or None])
    if flip < len(data):
        data[flip] ^= 0xFF
    with TemporaryDirectory() as folder, contextlib.suppress(UserError):
        path = Path(folder) / "a.npz"
        path.write_bytes(data)
        read_inputs(SHAPES, [], [path])


@settings(deadline=None)
@given(st.lists(st.lists(st.text(max_size=40), min_size=4, max_size=4), min_size=1, max_size=5))
def test_a_table_fits_whatever_it_holds(rows: list[list[str]]) -> None:
    assert sum(fit(("A", "B", "C", "D"), rows, 80)) + 6 <= 80
