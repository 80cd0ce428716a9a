from pathlib import Path

import pytest

from qallow_agent.base.errors import ConfigError
from qallow_agent.runtime.keyring import ensure_key, load_keys, read_key


def test_the_first_start_makes_keys_and_later_ones_keep_them(tmp_path: Path) -> None:
    first, again = load_keys(tmp_path), load_keys(tmp_path)
    assert first == again
    assert first.mesh is None
    assert len(first.identity.id) == 26


def test_key_files_have_mode_0600(tmp_path: Path) -> None:
    load_keys(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "node.key"
    ensure_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"{mode:04o}") as caught:
        read_key(path)
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("text", ["", "abc", "zz" * 32, "00" * 31, "00" * 33, "\x80"])
def test_a_file_that_is_no_key_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "node.key"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"node\.key"):
        read_key(path)


def test_a_missing_key_is_none(tmp_path: Path) -> None:
    assert read_key(tmp_path / "mesh.key") is None


def test_secrets_do_not_show_in_a_repr(tmp_path: Path) -> None:
    keys = load_keys(tmp_path)
    assert keys.identity.seed.hex() not in repr(keys)
    assert repr(keys.identity.seed) not in repr(keys)
