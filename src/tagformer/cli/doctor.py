"""``tagformer doctor``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagformer.cli.terminal.console import echo

if TYPE_CHECKING:
    from tagformer.doctor.finding import Finding


def doctor(
    data: Annotated[str | None, typer.Option(help="Also check a data set, FORMAT:PATH.")] = None,
    run: Annotated[Path | None, typer.Option(help="Also check a run folder.")] = None,
    out: Annotated[Path, typer.Option(help="The folder in which runs are to be written.")] = Path("runs"),
) -> None:
    """Check installation, machine, disk, data and a run: a line for each finding, with its cure."""
    from tagformer.doctor.finding import PROBLEM

    count = 0
    for finding in _findings(data, run, out):
        echo(str(finding))
        count += finding.level is PROBLEM
    echo(f"{count} problem{'' if count == 1 else 's'} found." if count else "No problems found.")
    if count:
        raise typer.Exit(1)


def _findings(data: str | None, run: Path | None, out: Path) -> Iterator[Finding]:
    """All findings, as they are made; where the installation has a problem, no others, for they need torch."""
    from tagformer.doctor.finding import PROBLEM
    from tagformer.doctor.installation import check_installation

    installation = list(check_installation())
    yield from installation
    if any(finding.level is PROBLEM for finding in installation):
        return
    from tagformer.doctor.folders import check_data, check_folder, check_run
    from tagformer.doctor.machine import check_machine
    from tagformer.features.store import VARIABLE, default_folder

    yield from check_machine()
    yield check_folder(out, "for runs")
    yield check_folder(default_folder(), f"for remembered features ({VARIABLE})")
    if data is not None:
        yield from check_data(data)
    if run is not None:
        yield from check_run(run)
