import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from qallow_agent.runtime.landlock import around


def tree(root: Path) -> None:
    for name in ("a/secret/deep", "a/open", "b"):
        (root / name).mkdir(parents=True)
    for name in ("a/secret/key", "a/secret/deep/key", "a/open/file", "a/file", "b/file", "top"):
        (root / name).write_text(name)


def seen(allowed: list[str]) -> set[str]:
    """Return every file below what is allowed, as a rule for a folder would give it."""
    found = set()
    for path in map(Path, allowed):
        found |= {str(path)} if path.is_file() else set()
        for folder, _, files in os.walk(path):
            found |= {f"{folder}/{file}" for file in files}
    return found


def test_a_folder_with_nothing_to_hide_is_one_rule(tmp_path: Path) -> None:
    tree(tmp_path)
    assert around(tmp_path / "b", (tmp_path / "a",)) == [str(tmp_path / "b")]


def test_everything_beside_a_secret_can_be_seen_and_nothing_within(tmp_path: Path) -> None:
    tree(tmp_path)
    allowed = seen(around(tmp_path, (tmp_path / "a" / "secret",)))
    assert allowed == {str(tmp_path / name) for name in ("a/open/file", "a/file", "b/file", "top")}


def test_within_a_secret_nothing_is_allowed(tmp_path: Path) -> None:
    tree(tmp_path)
    secret = (tmp_path / "a" / "secret",)
    assert around(tmp_path / "a" / "secret", secret) == []
    assert around(tmp_path / "a" / "secret" / "deep", secret) == []


def test_a_link_into_a_secret_is_no_way_round(tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / "b" / "link").symlink_to(tmp_path / "a" / "secret")
    secret = (tmp_path / "a" / "secret",)
    assert around(tmp_path / "b" / "link", secret) == []
    assert around(tmp_path / "b" / "link" / "deep", secret) == []


def test_what_is_not_there_is_not_asked_for_twice(tmp_path: Path) -> None:
    assert around(tmp_path / "none", ()) == [str(tmp_path / "none")]


@given(st.sets(st.sampled_from(["a", "a/secret", "a/secret/deep", "a/open", "b"])))
def test_what_is_seen_is_all_but_what_is_hidden(tmp_path_factory: object, hidden: set[str]) -> None:
    root = tmp_path_factory.mktemp("tree")  # type: ignore[attr-defined]
    tree(root)
    secrets = tuple(root / name for name in sorted(hidden))
    wanted = {
        path for path in seen([str(root)]) if not any(Path(path).is_relative_to(s) for s in secrets)
    }
    assert seen(around(root, secrets)) == wanted
