"""Records answers until it is killed, and prints the number of each step that was acknowledged."""

import sys
from pathlib import Path

from tagformer.answers.change import Change
from tagformer.answers.store import AnswerStore


def main() -> None:
    """Arguments: the file, and the number of the first answer."""
    store, first = AnswerStore(Path(sys.argv[1])), int(sys.argv[2])
    print("ready", flush=True)
    for number in range(first, first + 100_000):
        store.record("ann", "v1", [Change(f"{number}.jpg", "dog", 1)], request=f"request {number}")
        print(number, flush=True)


if __name__ == "__main__":
    main()
