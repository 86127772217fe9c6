"""Records answers in child processes until each is killed, and prints the number of each step that was acknowledged.

Argument: the file. A line of the standard input has the number of the first answer of the next child; a fork is faster
than a new interpreter.
"""

import os
import sys
from pathlib import Path

from tagformer.answers.change import Change
from tagformer.answers.store import AnswerStore


def record(file: Path, first: int) -> None:
    """Print the own process id, and the number of each answer; one call of the system for each line."""
    store = AnswerStore(file)
    os.write(1, f"{os.getpid()}\n".encode())
    for number in range(first, first + 100_000):
        store.record("ann", "v1", [Change(f"{number}.jpg", "dog", 1)], request=f"request {number}")
        os.write(1, f"{number}\n".encode())


def main() -> None:
    """One child after the other, to the end of the input."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            record(Path(sys.argv[1]), int(line))
        os.waitpid(child, 0)
        os.write(1, b"over\n")


if __name__ == "__main__":
    main()
