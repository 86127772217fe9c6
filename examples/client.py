"""Ask a server that ``tagformer serve`` started for the tags of an image, then again with some labels known.

Usage: python examples/client.py IMAGE [dog=yes,cat=no] [http://127.0.0.1:8000]; a token in TAGFORMER_TOKEN is sent.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def post(url: str, body: bytes, kind: str) -> Any:
    """What the server answers; its own sentence where it refuses."""
    headers = {"Content-Type": kind}
    if token := os.environ.get("TAGFORMER_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    try:
        with urlopen(Request(url, body, headers), timeout=60) as answer:
            return json.load(answer)
    except HTTPError as error:
        sys.exit(f"{error.code}: {json.load(error)['error']}")


def main(image: Path, known: str = "", server: str = "http://127.0.0.1:8000") -> None:
    """Print the tags."""
    answer = post(f"{server}/v1/tag", image.read_bytes(), "application/octet-stream")
    print("tags:", *(f"{tag['name']} {tag['probability']:.0%}" for tag in answer["tags"]))
    if known:
        question = {"id": answer["image"]["id"], "known": known}  # the image is not sent again
        answer = post(f"{server}/v1/decode", json.dumps(question).encode(), "application/json")
        print(f"with {known}:", *(f"{tag['name']} {tag['probability']:.0%}" for tag in answer["tags"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
