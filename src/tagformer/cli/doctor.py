"""``tagformer doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tagformer.cli.terminal.console import echo


def doctor(
    data: Annotated[str | None, typer.Option(help="Also check a data set, FORMAT:PATH.")] = None,
    run: Annotated[Path | None, typer.Option(help="Also check a run folder.")] = None,
    out: Annotated[Path, typer.Option(help="The folder in which runs are to be written.")] = Path("runs"),
) -> None:
    """Check installation, machine, disk, data and a run: a line for each finding, with its cure."""
    from tagformer.doctor.finding import PROBLEM
    from tagformer.doctor.installation import check_installation

    findings = []
    for finding in check_installation():
        echo(str(finding))
        findings.append(finding)
    if not any(finding.level == PROBLEM for finding in findings):  # the others need torch
        from tagformer.doctor.folders import check_data, check_folder, check_run
        from tagformer.doctor.machine import check_machine
        from tagformer.features.store import VARIABLE, default_folder

        checks = [check_machine(), iter([check_folder(out, "for runs")])]
        checks.append(iter([check_folder(default_folder(), f"for remembered features ({VARIABLE})")]))
        checks += [check_data(data)] if data is not None else []
        checks += [check_run(run)] if run is not None else []
        for check in checks:
            for finding in check:
                echo(str(finding))
                findings.append(finding)
    count = sum(finding.level == PROBLEM for finding in findings)
    echo(f"{count} problem{'' if count == 1 else 's'} found." if count else "No problems found.")
    if count:
        raise typer.Exit(1)
