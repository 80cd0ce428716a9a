"""What a kernel is given: parameters sorted into scalars and arrays, checked before they travel."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from qallow_agent.base.errors import BadParameter
from qallow_agent.client.cargo import Seen, loaded
from qallow_agent.client.wishes import NAMES
from qallow_agent.jobs.parcels import ArrayHead
from qallow_agent.kernels.spec import NO_EXTREMES, Extremes, KernelSpec

_PLAIN = (bool, int, float, str)
_SEEN: Final = Seen()


@dataclass(frozen=True, slots=True)
class Arguments:
    """The parameters of one evaluation, or those that all points of a sweep share.

    Args:
        scalars: Plain numbers by name.
        heads: What the arrays are.
        buffers: The arrays, large ones as cargo, not copied: they must stay as they are until the
            work is done.
    """

    scalars: dict[str, Any]
    heads: tuple[ArrayHead, ...] = ()
    buffers: tuple[Any, ...] = ()

    @property
    def input_bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(head.size_bytes for head in self.heads)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every array."""
        return {head.name: head.shape for head in self.heads}


def collect(
    spec: KernelSpec | None,
    params: Mapping[str, Any],
    swept: Extremes = NO_EXTREMES,
) -> Arguments:
    """Return parameters as they travel; with a known kernel they are checked against its spec.

    Args:
        spec: The kernel's; None leaves the judgement to the agent.
        params: As the caller wrote them.
        swept: Least and greatest value of the parameters that are swept beside these.

    Raises:
        BadParameter: Names the parameter that is wrong or cannot be sent.
    """
    if spec is None:
        return _collect_unknown(params, shared=bool(swept))
    wanted = {parameter.name: parameter for parameter in spec.parameters if parameter.shape}
    if not wanted:
        return Arguments(_validate(spec, params, swept, {}))
    scalars = {name: value for name, value in params.items() if name not in wanted}
    heads, buffers = [], []
    for name, parameter in wanted.items():
        if name in params:
            head, buffer = _array(name, params[name], parameter.dtype, shared=bool(swept))
            heads.append(head)
            buffers.append(buffer)
    shapes = {head.name: head.shape for head in heads}
    return Arguments(_validate(spec, scalars, swept, shapes), tuple(heads), tuple(buffers))


def _validate(
    spec: KernelSpec,
    scalars: Mapping[str, Any],
    swept: Extremes,
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, Any]:
    try:
        values = spec.validate(scalars, swept=swept, shapes=shapes)
    except BadParameter:
        _check_names(spec, scalars)
        # NumPy's zero-dimensional arrays and booleans are fine too, once they are plain.
        plain = {name: _plain(value) for name, value in scalars.items()}
        values = spec.validate(plain, swept=swept, shapes=shapes)
    if swept:
        return {name: value for name, value in values.items() if name not in swept}
    return values


def _check_names(spec: KernelSpec, scalars: Mapping[str, Any]) -> None:
    """Say so when what is no parameter looks like a mistyped option."""
    known = {parameter.name for parameter in spec.parameters}
    for name in scalars:
        near = [] if name in known else difflib.get_close_matches(name, NAMES, 1, cutoff=0.75)
        if near and not difflib.get_close_matches(name, known, 1, cutoff=0.75):
            raise BadParameter(
                f"kernel {spec.name!r} has no parameter {name!r}",
                hint=f"did you mean the option {near[0]!r}?",
            )


def _collect_unknown(params: Mapping[str, Any], *, shared: bool) -> Arguments:
    scalars: dict[str, Any] = {}
    heads, buffers = [], []
    for name, value in params.items():
        plain = _plain(value)
        if isinstance(plain, _PLAIN):
            scalars[name] = plain
        elif isinstance(plain, list | tuple) or hasattr(plain, "__array__"):
            head, buffer = _array(name, plain, "", shared=shared)
            heads.append(head)
            buffers.append(buffer)
        else:
            raise BadParameter(
                f"{name} is a {type(value).__name__}, which cannot be sent",
                hint="kernels take numbers and arrays of numbers",
            )
    return Arguments(scalars, tuple(heads), tuple(buffers))


def _plain(value: Any) -> Any:
    """Return NumPy's scalars as Python's; everything else as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def _array(name: str, value: Any, dtype: str, *, shared: bool) -> tuple[ArrayHead, Any]:
    from qallow_agent.client.arrays import outgoing  # noqa: PLC0415 - brings NumPy

    array, code = outgoing(name, value, dtype)
    return ArrayHead(name, code, array.shape), loaded(
        array, shared=shared, again=_SEEN.again(array)
    )
