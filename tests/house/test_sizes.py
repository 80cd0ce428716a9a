import ast

MODULE_LINES = 400
FUNCTION_LINES = 50
CLASS_METHODS = 20
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def statement_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count from ``def`` to the end without the docstring, which nobody should keep short."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is None:
        return lines
    return lines - ((first.end_lineno or 0) - first.lineno + 1)


def test_no_module_is_long(code: dict[str, str]) -> None:
    lengths = {name: len(text.splitlines()) for name, text in code.items()}
    assert {name: n for name, n in lengths.items() if n > MODULE_LINES} == {}


def test_no_function_is_long(trees: dict[str, ast.Module]) -> None:
    lengths = {
        f"{name}:{node.name}": statement_lines(node)
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, Function)
    }
    assert {name: n for name, n in lengths.items() if n > FUNCTION_LINES} == {}


def test_no_class_has_many_methods(trees: dict[str, ast.Module]) -> None:
    counts = {
        f"{name}:{node.name}": sum(isinstance(item, Function) for item in node.body)
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    assert {name: n for name, n in counts.items() if n > CLASS_METHODS} == {}
