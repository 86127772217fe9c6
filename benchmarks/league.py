"""The league: our models and their rivals with the same weights, images, pixels and wall time; see docs/league.md.

``python benchmarks/league.py setup fastai lightlytrain`` makes the environments of the rivals. ``run`` runs what is not
in the results file yet, so it can be interrupted and started again; ``table`` writes the table of docs/league.md.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from league import environments, running  # the folder beside this file
from league.results import ROOT, missing, read_results
from league.sets import SETS
from league.table import write_table

from tagformer.errors import TagformerError

RESULTS, PAGE = ROOT / "benchmarks" / "league" / "results.jsonl", ROOT / "docs" / "league.md"


def options() -> argparse.ArgumentParser:
    """The options of the three commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run what is not in the results file yet")
    run.add_argument("--sets", default=",".join(SETS))
    run.add_argument("--entries", default=",".join(running.ENTRIES))
    run.add_argument("--seeds", default="0,1,2")
    run.add_argument("--minutes", default="", help="for example photo=6,cub50=4, or one number for all sets")
    run.add_argument("--again", action="store_true", help="run also what is in the results file; the new result counts")
    run.add_argument("--work", type=Path, default=running.DEFAULT_FOLDER, help="for predictions and logs")
    setup = commands.add_parser("setup", help="make the environments of rivals")
    setup.add_argument("entry", nargs="+", help=" or ".join(environments.RIVALS))
    table = commands.add_parser("table", help="write the table")
    table.add_argument("--page", type=Path, default=PAGE)
    for command in (run, table):
        command.add_argument("--results", type=Path, default=RESULTS)
    for command in (run, setup):
        command.add_argument("--environments", type=Path, default=environments.DEFAULT_FOLDER)
    return parser


def parse_minutes(text: str, sets: list[str]) -> dict[str, float]:
    """Minutes by set, from "photo=6,cub50=4" or from one number for all sets.

    Raises:
        TagformerError: something else.
    """
    pairs = [part.partition("=") for part in text.split(",") if part]
    if len(pairs) == 1 and not pairs[0][1]:
        pairs = [(name, "=", pairs[0][0]) for name in sets]
    try:
        minutes = {name: float(value) for name, _, value in pairs}
    except ValueError as error:
        raise TagformerError(f"--minutes {text}: write for example photo=6,cub50=4, or one number.") from error
    if not set(minutes) <= set(SETS) or not all(value > 0 for value in minutes.values()):
        raise TagformerError(f"--minutes {text}: the sets are {', '.join(SETS)}, and minutes are above 0.")
    return minutes


def main() -> int:
    """Run a command; the exit code is 1 where an entry failed and 2 where the input is wrong."""
    arguments = options().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as at Ctrl-C, the process of the entry is ended too
    try:
        if arguments.command == "setup":
            for entry in arguments.entry:
                environments.set_up(entry, arguments.environments)
        elif arguments.command == "table":
            write_table(arguments.page, read_results(arguments.results))
        else:
            return _run(arguments)
    except TagformerError as error:
        print(f"league: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("league: interrupted; the same command goes on with what is missing.", file=sys.stderr)
        return 130
    return 0


def _run(arguments: argparse.Namespace) -> int:
    sets = arguments.sets.split(",")
    try:
        seeds = [int(seed) for seed in arguments.seeds.split(",")]
    except ValueError as error:
        raise TagformerError(f"--seeds {arguments.seeds}: write whole numbers, for example 0,1,2.") from error
    minutes = parse_minutes(arguments.minutes, sets)
    keys = running.planned(sets, arguments.entries.split(","), seeds, minutes)
    if not arguments.again:
        keys = missing(keys, read_results(arguments.results))
    hours = sum(key[3] for key in keys) / 60
    print(f"{len(keys)} runs, {hours:.1f} hours of training, and the time of predicting the test images.", flush=True)
    places = running.Places(arguments.results, arguments.work.expanduser().resolve(), arguments.environments)
    failures = running.run_all(keys, places)
    for sentence in failures:
        print(f"failed: {sentence}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
