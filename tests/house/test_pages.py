import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from qallow_agent.cli.main import COMMANDS, LazyGroup, app
from qallow_agent.config.schema import Settings
from qallow_agent.config.tree import entries, sections

LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
CALL = re.compile(r"qallow-agent((?: +[^\s`'\"|;&()\]]+)*)")
SETTING = re.compile(r"`((?:[a-z_]+\.)+[a-z_]+)`")
GUIDES = ("README.md", "docs/user-guide.md", "docs/security.md", "docs/glossary.md")


def anchor(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def test_every_relative_link_leads_somewhere(
    root: Path, pages: dict[str, str], bare: Callable[[str], str]
) -> None:
    broken = []
    for name, page in pages.items():
        for target in LINK.findall(bare(page)):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, wanted = target.partition("#")
            found = (root / name).parent / path if path else root / name
            if not found.exists():
                broken.append(f"{name}: {target}")
            elif wanted:
                anchors = [anchor(each) for each in HEADING.findall(bare(found.read_text()))]
                if wanted not in anchors:
                    broken.append(f"{name}: {target}")
    assert broken == []


def test_every_word_of_the_glossary_has_one_meaning(pages: dict[str, str]) -> None:
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| *(.*?) *\|$", pages["docs/glossary.md"], re.MULTILINE)
    words = [word for word, _ in rows]
    assert words
    assert words == sorted(set(words))
    assert [word for word, meaning in rows if not meaning.endswith(".")] == []


def test_every_decision_is_listed(root: Path, pages: dict[str, str]) -> None:
    index = pages["docs/adr/README.md"]
    records = sorted(path.name for path in (root / "docs" / "adr").glob("[0-9]*.md"))
    assert re.findall(r"\]\(([0-9].+?\.md)\)", index) == records
    for record in records:
        page = pages[f"docs/adr/{record}"]
        assert page.startswith(f"# {record[:4]} ")
        title = page.splitlines()[0].removeprefix(f"# {record[:4]} ")
        assert f"| {title} |" in index
        for part in ("**Decision.**", "**Why.**", "- Good, because", "- Bad, because"):
            assert part in page, f"{record} lacks {part!r}"


def calls(pages: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yield every command line that the pages show, with the page it stands in."""
    for name, page in pages.items():
        for line in page.replace("\\\n", " ").splitlines():
            shown = re.findall(r"`([^`]+)`", line) or [line]
            for text in shown:
                match = CALL.match(re.sub(r"^.*?\$ +", "", text).removeprefix("sudo ").strip())
                if match:
                    yield name, match.group(1).split()


def complaint(words: list[str]) -> str | None:
    """Return what is wrong with a command line, judged by the real commands and options."""
    if not words or words[0].startswith("-"):
        return None
    if words[0] not in COMMANDS:
        return f"no command {words[0]}"
    context = click.Context(app)
    command: click.Command | None = LazyGroup(name="qallow-agent").get_command(context, words[0])
    rest = words[1:]
    if isinstance(command, click.Group) and rest and rest[0].islower():
        command = command.get_command(context, rest[0])
        if command is None:
            return f"no command {words[0]} {rest[0]}"
    if command is None:
        return f"no command {words[0]}"
    known = {text for parameter in command.params for text in parameter.opts} | {"--help", "-h"}
    given = [word.partition("=")[0].strip(",.:") for word in rest if re.match(r"--?[a-z]", word)]
    unknown = [word for word in given if word not in known]
    return f"{' '.join(words)}: no option {', '.join(unknown)}" if unknown else None


def test_every_command_line_that_is_shown_exists(pages: dict[str, str]) -> None:
    shown = list(calls(pages))
    assert len(shown) > len(COMMANDS)
    assert [(name, why) for name, words in shown if (why := complaint(words))] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_guide_shows_every_command(pages: dict[str, str], command: str) -> None:
    guide = pages["docs/user-guide.md"]
    assert re.search(rf"qallow-agent {command}\b", guide), f"{command} is nowhere in the guide"


def test_every_setting_that_is_named_exists(pages: dict[str, str]) -> None:
    known = {*entries(Settings), *sections(Settings)}
    tops = {name.partition(".")[0] for name in known}
    named = [
        (name, word)
        for name in GUIDES
        for word in SETTING.findall(pages.get(name, ""))
        if word.partition(".")[0] in tops and not word.endswith((".key", ".py", ".toml"))
    ]
    assert named
    assert [item for item in named if item[1] not in known] == []


def test_every_preset_is_in_the_guide(root: Path, pages: dict[str, str]) -> None:
    guide = pages["docs/user-guide.md"]
    presets = sorted(path.name for path in (root / "configs").glob("*.toml"))
    assert [name for name in presets if f"configs/{name}" not in guide] == []


def test_every_page_is_reachable_from_the_front(root: Path, pages: dict[str, str]) -> None:
    seen: dict[str, None] = {}
    waiting = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in pages:
            continue
        seen[name] = None
        for target in LINK.findall(pages[name]):
            found = ((root / name).parent / target.partition("#")[0]).resolve()
            if found.is_relative_to(root):
                waiting.append(found.relative_to(root).as_posix())
    docs = [name for name in pages if name.startswith("docs/")]
    assert [name for name in docs if name not in seen] == []
