"""The command line: thin; it parses, calls and prints."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from tagformer._version import __version__
from tagformer.cli import data, evaluate, explain, importing, listing, predict, report, similar, simulate, train, tune
from tagformer.errors import TagformerError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Tag images with many labels: train on a folder and a CSV, evaluate, and tag with some labels already known.",
)


def print_version(requested: bool) -> None:
    """Print the version and exit, if it was requested."""
    if requested:
        print(f"tagformer {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=print_version, is_eager=True, help="Print the version."),
) -> None:
    # The options of tagformer itself, before a command; typer calls print_version.
    pass


app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("explain")(explain.explain)
app.command("similar")(similar.similar)
app.command("tune")(tune.tune)
app.command("report")(report.report)
app.command("compare")(report.compare)
app.command("simulate")(simulate.simulate)
app.command("import")(importing.import_checkpoint)
app.add_typer(data.app, name="data")
app.command("models")(listing.models)
app.command("recipes")(listing.recipes)


def main() -> None:
    """Run the command line; errors that the user can fix are one sentence, with exit code 2.

    The current folder is added to the Python path, at the end, so that ``my_module:MyModel`` is found there and an
    installed package of the same name is still preferred.
    """
    try:
        if not {"", str(Path.cwd())} & set(sys.path):
            sys.path.append(str(Path.cwd()))
    except FileNotFoundError:  # the current folder was deleted
        pass
    try:
        app()
    except TagformerError as error:
        print(f"tagformer: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
