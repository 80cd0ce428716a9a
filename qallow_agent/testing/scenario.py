"""Text scenarios: commands for a simulation, and the transcript they must give.

A file is a list of blocks. Each is some command lines, a line ``----``, the lines that these
commands print, and an empty line; comments begin with ``#``. A seed decides everything else, so
the transcript is exact. After an intended change of behaviour, write it anew and read the diff:
``python -m qallow_agent.testing.scenario --rewrite tests/scenarios/*.txt``.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qallow_agent.testing.stage import Stage
from qallow_agent.testing.verbs import VERBS

RULE = "----"


@dataclass(frozen=True, slots=True)
class Block:
    """Some commands and what they print.

    Args:
        head: Command and comment lines, as they stand in the file.
        output: The lines expected.
    """

    head: tuple[str, ...]
    output: tuple[str, ...]


def parse(text: str) -> list[Block]:
    """Return the blocks of a scenario."""
    blocks: list[Block] = []
    head: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line != RULE:
            if line.strip() or head:
                head.append(line)
            continue
        output: list[str] = []
        for printed in lines:
            if not printed.strip():
                break
            output.append(printed)
        blocks.append(Block(tuple(head), tuple(output)))
        head = []
    if any(line.strip() for line in head):
        blocks.append(Block(tuple(head), ()))
    return blocks


def render(blocks: Sequence[Block]) -> str:
    """Return the text of a scenario."""
    return "\n".join(
        "\n".join((*(line for line in block.head), RULE, *block.output)) + "\n" for block in blocks
    )


def perform(text: str) -> str:
    """Run a scenario and return its text with the transcript as it is now.

    Raises:
        UsageError: A command is wrong.
        InvariantBroken: An ``expect`` does not hold, or a law of the mesh is broken.
    """
    stage = Stage(VERBS)
    done: list[Block] = []
    for block in parse(text):
        printed: list[str] = []
        for line in block.head:
            command = line.partition("#")[0].strip()
            if command:
                printed += stage.command(command)
        done.append(Block(block.head, tuple(printed)))
    return render(done)


def main(arguments: Sequence[str]) -> int:
    """Check scenario files, or with ``--rewrite`` write their transcripts anew.

    Returns:
        1 when a transcript differs and was not to be rewritten.
    """
    rewrite = "--rewrite" in arguments
    paths = [Path(each) for each in arguments if not each.startswith("--")]
    if not paths:
        sys.stderr.write("usage: python -m qallow_agent.testing.scenario [--rewrite] FILE...\n")
        return 2
    differing = 0
    for path in paths:
        before = path.read_text(encoding="utf-8")
        after = perform(before)
        if after != before:
            differing += 1
            if rewrite:
                path.write_text(after, encoding="utf-8")
            sys.stdout.write(f"{path}: {'written anew' if rewrite else 'differs'}\n")
    return 0 if rewrite or not differing else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
