import json
import re
from pathlib import Path

import msgspec
import pytest

from qallow_agent.base.errors import ConfigError
from qallow_agent.config.policies import read_mesh_policy, read_owner_file, read_owner_policy
from qallow_agent.config.policy_text import mesh_text
from qallow_agent.ethics.clauses import Committee, Grant, Zone
from qallow_agent.ethics.evidence import Evidence
from qallow_agent.ethics.hours import Hours
from qallow_agent.ethics.lines import line_of
from qallow_agent.ethics.mesh_policy import built_in
from qallow_agent.ethics.policy import Override, Ramp

PAGE = Path(__file__).parents[3] / "docs" / "policy.md"
EXAMPLES = dict(
    re.findall(r"```(?:toml|json)\n(?:# (\w+\.toml)[^\n]*\n)?(.*?)```", PAGE.read_text(), re.DOTALL)
)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


def test_the_example_of_a_mesh_s_policy_says_what_its_comments_say(policy: Path) -> None:
    policy.write_text(EXAMPLES["mesh.toml"])
    found = read_mesh_policy(policy)
    assert found.threshold == 2900
    assert sorted(found.presets) == ["dedicated", "desktop"]
    desktop, dedicated = found.presets["desktop"], found.presets["dedicated"]
    assert desktop.skipped == ("s3",)
    assert desktop.ramps["c3"] == Ramp(400_000, 200_000)
    assert dedicated.ramps["c3"] == Ramp(500_000, 250_000)
    assert dedicated.ramps["c1.memory"] == desktop.ramps["c1.memory"] == Ramp(100_000, 10_000)
    assert found.grants == (
        Grant(("submitter",), ("harmonic", "elasticity"), ("default", "lab-*")),
        Grant(("operator",)),
    )
    assert found.zones == {"default": Zone(("public", "internal"))}
    assert found.quiet == (Hours(22 * 60, 7 * 60, (0, 1, 2, 3, 4), 60),)
    assert found.overrides == (Override("c2", 1_896_112_800_000, "open day"),)
    assert found.committee == Committee()
    assert found.observers == ("observer", "operator")


def test_the_example_of_an_owner_s_policy_is_sound(policy: Path) -> None:
    policy.write_text(EXAMPLES["own.toml"])
    found = read_owner_policy(policy)
    assert found.threshold == 2950
    assert found.ramps == {"c3": Ramp(300_000, 100_000)}
    assert found.required == ("c2",)
    assert read_owner_file(str(policy)) == found
    assert read_owner_file("") is None


def test_the_example_of_evidence_is_evidence() -> None:
    evidence = msgspec.convert(json.loads(EXAMPLES[""]), Evidence)
    assert evidence.items[0].signal == "c3"


def test_an_empty_document_is_the_built_in_policy(policy: Path) -> None:
    policy.write_text("")
    assert read_mesh_policy(policy) == built_in()
    policy.write_text(mesh_text(built_in()))
    assert read_mesh_policy(policy) == built_in()


@pytest.mark.parametrize(
    ("text", "wrong", "fix"),
    [
        ("threshold = 2.3", "line 1: threshold = 2.300", "2.400 to 3.000"),
        ("threshold = 3.1", "line 1: threshold = 3.100", "2.400 to 3.000"),
        ('threshold = "high"', "line 1: threshold = 'high'", "a number"),
        ("threshold = nan", "line 1: threshold = nan", "either way"),
        ("threshold = 2.90001", "line 1: threshold = 2.90001", "at most 3 decimals"),
        ("treshold = 2.9", "line 1: unknown key 'treshold'", "did you mean threshold?"),
        ("version = -1", "line 1: version = -1", "0 to"),
        ("version = 1.5", "line 1: version = 1.5", "a whole number"),
        ("dvfs = 1", "line 1: dvfs = 1", "true or false"),
        ("\n\n[presets.destop]", "line 3: unknown key 'destop'", "did you mean desktop?"),
        ('allow_presets = ["laptop"]', "line 1: allow_presets = 'laptop'", "one of"),
        ("allow_presets = []", "line 1: allow_presets = {}", "at least one of"),
        ("[ramps]\nc3 = 5", "line 2: ramps.c3 = 5", "a table"),
        ("[ramps]\nc3 = { bad = 0.5 }", "line 2: ramps.c3 = {}", "{ bad = ..., good = ... }"),
        ("[ramps]\nc3 = { bad = 0.1, good = 0.2 }", "line 2", "good must be below bad"),
        ("[ramps]\ns1 = { bad = 0.1, good = 0.1 }", "line 2", "good must be above bad"),
        ("[ramps]\nc33 = { bad = 0.2, good = 0.1 }", "line 2", "did you mean c3?"),
        ("[ramps]\nh5 = { bad = 0, good = 2 }", "line 2", "it stops work and keeps its ramp"),
        ("[ramps]\nc3 = { bad = 1e12, good = 0 }", "line 2", "at most 1000000000 either way"),
        ('[presets.desktop]\nskipped = ["c8"]', "line 2", "a pause ends with"),
        ('[presets.desktop]\nskipped = ["c99"]', "line 2", "c"),
        ('observe = "all"', "line 1: observe = 'all'", "a list"),
        ("observe = [1]", "line 1: observe = 1", 'texts: ["...", "..."]'),
        ("submit = 3", "line 1: submit = 3", "tables: [[submit]]"),
        ("[[submit]]\n[[submit]]\nwho = []", "line 3: submit[2].who = []", "at least one"),
        ('[[submit]]\nwhom = ["x"]', "line 2: unknown key 'whom'", "did you mean who?"),
        ('[zones.lab]\nclasses = ["a b"]', "line 2: zones.lab.classes = 'a b'", "letters"),
        ('[[quiet]]\nfrom = "24:00"\nuntil = "07:00"', "line 2: quiet[1].from", "22:00"),
        ('[[quiet]]\nfrom = "22:00"', "line 1: quiet[1].until = None", "text in quotes"),
        ('[[quiet]]\nfrom = "22:00"\nuntil = "07:00"\noffset = "CET"', "line 4", "+01:00"),
        ('[[quiet]]\nfrom = "22:00"\nuntil = "07:00"\ndays = []', "line 4", "at least one day"),
        ('[[overrides]]\nsignal = "c2"\nuntil = 2030-01-01', "line 3", "with its offset"),
        ('[[overrides]]\nsignal = "h5"\nuntil = 2030-01-01T00:00:00Z', "line 2", "evidence"),
        ("[committee]\nsize = 32", "line 2: committee.size = 32", "1 to 31"),
        ('[committee]\nmembers = ["box7"]', "line 2: committee.members = box7", "a node id"),
        ("prices = [0.5]", "line 1: prices = 1 hours", "24"),
    ],
)
def test_an_error_names_the_line_the_key_the_value_and_what_may_stand_there(
    policy: Path, text: str, wrong: str, fix: str
) -> None:
    policy.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_mesh_policy(policy)
    assert error.value.message.startswith(f"{policy}, {wrong}")
    assert fix in error.value.hint


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("version = 3", "unknown key 'version'"),
        ("consent = 0", "consent = 0"),
        ('required = ["c9"]', "required = c9"),
        ("threshold = 1", "threshold = 1.000"),
    ],
)
def test_an_owner_s_policy_is_judged_too(policy: Path, text: str, wrong: str) -> None:
    policy.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(f"line 1: {wrong}")):
        read_owner_policy(policy)


def test_a_file_that_is_no_policy_says_so(policy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_mesh_policy(policy)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_mesh_policy(tmp_path)
    policy.write_text("a b c")
    with pytest.raises(ConfigError, match="is not TOML"):
        read_mesh_policy(policy)
    policy.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        read_mesh_policy(policy)
    policy.write_bytes(b"#" * (1 << 19))
    with pytest.raises(ConfigError, match="larger"):
        read_mesh_policy(policy)


def test_a_signal_in_parts_may_be_written_three_ways(policy: Path) -> None:
    for text in (
        '[ramps]\n"c1.cpu" = { bad = 0.3, good = 0.1 }',
        "[ramps]\nc1.cpu = { bad = 0.3, good = 0.1 }",
        "[ramps.c1.cpu]\nbad = 0.3\ngood = 0.1",
        "[ramps]\nc1 = { cpu = { bad = 0.3, good = 0.1 } }",
    ):
        policy.write_text(text)
        assert read_mesh_policy(policy).presets["desktop"].ramps["c1.cpu"] == Ramp(300_000, 100_000)


def test_a_key_is_found_in_the_table_that_it_stands_in() -> None:
    text = '[a]\nx = 1\n[b]\nx = 2\n[[c]]\nx = 3\n[[c]]\n"x.y" = 4 # x\n'
    assert line_of(text, ("a", "x")) == 2
    assert line_of(text, ("b", "x")) == 4
    assert line_of(text, ("c", 0, "x")) == 6
    assert line_of(text, ("c", 1, "x.y")) == 8
    assert line_of(text, ("c", 1, "z")) == 7
    assert line_of(text, ("d",)) is None
