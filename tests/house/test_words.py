import ast
import re

VAGUE = re.compile(r"(Manager|Helper|Util|Utils|Handler)$")
ALLOWED = {"ZapHandler"}  # what ZeroMQ's own specification calls it

# Written in pieces, so that this file does not find itself.
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + r"CK\b")))
PLACES = re.compile("|".join((r"(?<![\w.])/wo" + "rk/", r"(?<![\w.])/ro" + "ot/", "/Us" + "ers/")))


def test_no_class_has_a_vague_name(trees: dict[str, ast.Module]) -> None:
    names = [
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    assert [name for name in names if VAGUE.search(name) and name not in ALLOWED] == []


def test_nothing_is_marked_as_unfinished(texts: dict[str, str]) -> None:
    assert {name: UNFINISHED.findall(text) for name, text in texts.items()
            if UNFINISHED.search(text)} == {}  # fmt: skip


def test_no_file_knows_the_machine_it_was_written_on(texts: dict[str, str]) -> None:
    assert {name: PLACES.findall(text) for name, text in texts.items()
            if PLACES.search(text)} == {}  # fmt: skip


def test_every_module_says_what_it_is(trees: dict[str, ast.Module]) -> None:
    assert [name for name, tree in trees.items() if not ast.get_docstring(tree)] == []


def test_concrete_classes_do_not_inherit_from_one_another(trees: dict[str, ast.Module]) -> None:
    # Errors form a tree by design, messages share one base, settings and structs have none.
    roots = {"Message", "Protocol"}
    own = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not name.endswith("base/errors.py")
    }
    assert {
        name: bases & set(own) - roots for name, bases in own.items() if bases & set(own) - roots
    } == {}
