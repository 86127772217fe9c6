"""``tagformer serve``."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagformer.cli.terminal.console import Feedback, RunFolder, echo
from tagformer.errors import TagformerError

if TYPE_CHECKING:
    from tagformer.serve.workspace.opening import PageData

MOST_LINES = 5  # on images that are left out
LONGEST_TOKEN = 4096  # bytes of a file with a token


def serve(
    run: RunFolder,
    images: Annotated[
        str | None, typer.Option(help="A folder of images for the page, or FORMAT:PATH; the run's own data by default.")
    ] = None,
    answers: Annotated[Path | None, typer.Option(help="A folder for the answers; that of the run by default.")] = None,
    tree: Annotated[Path | None, typer.Option(help="A CSV child,parent: what labels imply of each other.")] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    token_file: Annotated[Path | None, typer.Option(help="A file with the token that clients must send.")] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="A name by which clients call the server, besides localhost.")
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Without the page there is the API alone.")] = True,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    feedback: Feedback = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images encoded at a time, at most.")] = 16,
    batch_delay_ms: Annotated[
        float, typer.Option(min=0, help="Milliseconds that an image waits for others to be encoded with it.")
    ] = 5.0,
    queue: Annotated[int, typer.Option(min=1, help="Images in work at a time; more get the status 503.")] = 64,
    kept_images: Annotated[int, typer.Option(min=1, help="Images that can be asked about again.")] = 128,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for a request to arrive, and to be answered.")] = 30.0,
    label_studio_url: Annotated[
        str | None, typer.Option(help="The Label Studio whose images may be read, as http://HOST:PORT.")
    ] = None,
    label_studio_token: Annotated[Path | None, typer.Option(help="A file with its access token.")] = None,
    label_studio_files: Annotated[Path | None, typer.Option(help="The root of its local files.")] = None,
) -> None:
    """Open a page to tag images together with the model, and an API for programs; Ctrl-C ends it.

    See docs/serve.md for the page and the API, and /openapi.json of the server.
    """
    from tagformer.serve.settings import LabelStudioSettings, ServeSettings

    settings = ServeSettings(
        name=run.resolve().name or "tagformer",
        host=host,
        token=None if token_file is None else read_token(token_file),
        hosts=tuple(allowed_host or ()),
        batch_size=batch_size,
        batch_delay=batch_delay_ms / 1000,
        queue=queue,
        kept_images=kept_images,
        timeout=timeout,
        most_images=min(16, queue),
        label_studio=LabelStudioSettings(
            label_studio_url,
            None if label_studio_token is None else read_token(label_studio_token),
            label_studio_files,
        ),
    )
    from tagformer.serve.listening import address_of, listen, run_until_interrupted

    with listen(host, port) as listening:  # before the model is read, which takes longer
        from tagformer.serve.app import create_app
        from tagformer.serve.workspace.loop import run_in_use
        from tagformer.serve.workspace.opening import TRAINING, page_of
        from tagformer.tagging.tagger import Tagger

        folder = answers or run
        used = run_in_use(run, folder / TRAINING) if page else run
        if used != run:
            echo(f"The model that was trained on the answers is in use: {used}")
        tagger = Tagger.load(used, feedback=feedback)
        parts = page_of(_page_data(images, run), folder, used, tagger.label_space, tree) if page else None
        app = create_app(settings, tagger, page=parts)
        version = app.state.services.engine.model.version
        echo(f"{settings.name}, version {version}: {address_of(listening)} (Ctrl-C ends it)")
        if open_browser:
            webbrowser.open(address_of(listening))  # it waits until the server answers
        run_until_interrupted(app, listening)


def _page_data(images: str | None, run: Path) -> PageData:
    """The images of the page; what is left out is printed."""
    from tagformer.runs.run import Run
    from tagformer.serve.workspace.opening import page_data

    data = page_data(images, Run.load(run))
    for line in data.left_out[:MOST_LINES]:
        echo(line)
    if len(data.left_out) > MOST_LINES:
        echo(f"... and {len(data.left_out) - MOST_LINES} more that are left out.")
    echo(f"{len(data.images):,} images for the page: {data.title}")
    return data


def read_token(file: Path) -> str:
    """The token in a file, without the end of the line.

    Raises:
        TagformerError: it cannot be read, or holds something else.
    """
    from tagformer.files import open_regular

    try:
        with open_regular(file) as stream:
            text = stream.read(LONGEST_TOKEN + 1).decode("utf-8").strip()
    except OSError as error:
        raise TagformerError(f"cannot read {file}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise TagformerError(f"{file} is not a text: write the token into it.") from error
    if not text or len(text) > LONGEST_TOKEN or "\n" in text:
        raise TagformerError(f"{file} has no token, or more than one line: write the token into it.")
    return text
