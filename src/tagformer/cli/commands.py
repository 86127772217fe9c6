"""The application: the commands by name."""

from __future__ import annotations

import typer

from tagformer._version import __version__
from tagformer.cli import (
    data,
    doctor,
    evaluate,
    explain,
    importing,
    listing,
    predict,
    report,
    serve,
    similar,
    simulate,
    train,
    tune,
)
from tagformer.cli.terminal.plain_help import PlainCommand, PlainGroup

app = typer.Typer(
    cls=PlainGroup,
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


app.command("train", cls=PlainCommand)(train.train)
app.command("evaluate", cls=PlainCommand)(evaluate.evaluate)
app.command("predict", cls=PlainCommand)(predict.predict)
app.command("serve", cls=PlainCommand)(serve.serve)
app.command("explain", cls=PlainCommand)(explain.explain)
app.command("similar", cls=PlainCommand)(similar.similar)
app.command("tune", cls=PlainCommand)(tune.tune)
app.command("report", cls=PlainCommand)(report.report)
app.command("compare", cls=PlainCommand)(report.compare)
app.command("simulate", cls=PlainCommand)(simulate.simulate)
app.command("import", cls=PlainCommand)(importing.import_checkpoint)
app.add_typer(data.app, name="data")
app.command("doctor", cls=PlainCommand)(doctor.doctor)
app.command("models", cls=PlainCommand)(listing.models)
app.command("recipes", cls=PlainCommand)(listing.recipes)
