from qallow_agent.kernels.jit import compiled


def test_a_function_without_a_place_for_a_cache_is_compiled_in_memory() -> None:
    space: dict[str, object] = {}
    exec("def double(x):\n    return 2 * x\n", space)  # noqa: S102 - a function without a file
    double = space["double"]
    assert callable(double)
    assert compiled("int64(int64)")(double)(21) == 42


def test_division_follows_ieee_754() -> None:
    space: dict[str, object] = {}
    exec("def invert(x):\n    return 1.0 / x\n", space)  # noqa: S102 - a function without a file
    invert = space["invert"]
    assert callable(invert)
    assert compiled("float64(float64)")(invert)(0.0) == float("inf")
