"""The border to pyarrow, an extra: Parquet files as columns, and tables as Parquet files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from qallow_agent.base.errors import UsageError

if TYPE_CHECKING:
    from qallow_agent.client.tables import Table

Array = npt.NDArray[Any]


def check_parquet() -> None:
    """See that Parquet can be read and written here.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise UsageError(
            "Parquet needs pyarrow, which is not installed here",
            hint="pip install 'qallow-agent[parquet]', or use NPZ or CSV",
        ) from error


def read_parquet(path: Path) -> dict[str, Array]:
    """Return the columns of a Parquet file.

    Raises:
        UsageError: pyarrow is not installed.
        ValueError: The bytes are no Parquet file, or a column has holes.
        OSError: The file cannot be read.
    """
    check_parquet()
    import pyarrow as pa  # noqa: PLC0415 - an extra
    import pyarrow.parquet as pq  # noqa: PLC0415 - an extra

    with path.open("rb") as opened:
        try:
            table = pq.read_table(opened)
        except pa.ArrowException as error:
            raise ValueError(str(error)) from error
    holes = [name for name in table.column_names if table[name].null_count]
    if holes:
        raise ValueError(f"column {holes[0]} has holes")
    return {name: table[name].to_numpy() for name in table.column_names}


def write_parquet(opened: BinaryIO, table: "Table") -> list[str]:
    """Write a table and return the columns that it has no place for: those without numbers.

    Several numbers a row become a list of fixed length, the last axis fastest; a complex number
    becomes two.
    """
    import pyarrow as pa  # noqa: PLC0415 - an extra
    import pyarrow.parquet as pq  # noqa: PLC0415 - an extra

    names = [name for name, field in table.fields.items() if field.size]
    empty = {name: _column(pa, np.zeros((0, *table.fields[name].shape), table.fields[name].dtype))
             for name in names}  # fmt: skip
    schema = pa.schema([(name, column.type) for name, column in empty.items()])
    with pq.ParquetWriter(opened, schema) as writer:
        for chunk in table.chunks(names):
            writer.write_table(pa.table([_column(pa, chunk[name]) for name in names], names=names))
    return [name for name in table.fields if name not in names]


def _column(pa: Any, rows: Array) -> Any:
    """Return the rows of one column as pyarrow's array."""
    numbers = np.ascontiguousarray(rows, rows.dtype.newbyteorder("="))
    if numbers.dtype.kind == "c":
        numbers = numbers.view(numbers.real.dtype).reshape(*numbers.shape, 2)
    flat = pa.array(numbers.reshape(-1))
    length = int(np.prod(numbers.shape[1:], dtype=np.int64))
    return flat if length == 1 else pa.FixedSizeListArray.from_arrays(flat, length)
