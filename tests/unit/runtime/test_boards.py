import importlib
from pathlib import Path

import pytest

from qallow_agent.base.errors import DeviceError
from qallow_agent.runtime.boards import choose_board, why_no_cuda


def chosen(device: str, visible: str | None = None) -> str:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    choose_board(device, environment)
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    return environment["CUDA_VISIBLE_DEVICES"]


@pytest.mark.parametrize(
    ("device", "visible", "board"),
    [
        ("gpu0", None, "0"),
        ("gpu1", None, "1"),
        ("gpu12", None, "12"),
        ("gpu1", "3, 1", "1"),
        ("gpu0", "MIG-abc", "MIG-abc"),
        ("gpu1", "GPU-abc,GPU-def", "GPU-def"),
    ],
)
def test_a_runner_sees_the_board_of_its_device(
    device: str, visible: str | None, board: str
) -> None:
    assert chosen(device, visible) == board


@pytest.mark.parametrize(
    ("device", "visible"),
    [("gpu0", "1"), ("gpu1", "MIG-abc"), ("gpu", "0"), ("gpu0", "-1"), ("gpu0", "")],
)
def test_a_board_that_its_owner_left_out_is_not_used(device: str, visible: str) -> None:
    before = {"CUDA_VISIBLE_DEVICES": visible}
    environment = dict(before)
    with pytest.raises(DeviceError, match=r"leaves|no number"):
        choose_board(device, environment)
    assert environment == before


def test_what_keeps_boards_from_computing_is_told_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no kernel here" in why_no_cuda(("cpu",)).why
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert "pip install 'qallow-agent[gpu]'" in why_no_cuda(("cpu", "cuda")).fix
    (tmp_path / "numba_cuda").mkdir()
    (tmp_path / "numba_cuda" / "__init__.py").touch()
    importlib.invalidate_caches()
    assert why_no_cuda(("cpu", "cuda")).why == ""
