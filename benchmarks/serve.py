"""The server: from a click to probabilities, images per second with and without micro-batches, and memory.

``python benchmarks/serve.py RUN [--images FOLDER] [--seconds 10] [--clients 16]``. RUN is a run folder; the images are
drawn scenes where no folder is given. Each server runs in a process of its own, the clients in this one.

- A click: the same image with other known labels, by its id (decode) and sent again (encode and decode), in turns.
- Throughput: clients that send images one after the other, to a server that encodes one image at a time, and to one
  that forms micro-batches; images per second, the median and the 99th percentile of the time of an answer, and how
  many answers were "busy".
- Memory: the resident memory of the server before and after.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from tagformer.data import load_dataset
from tagformer.images.file_types import EXTENSIONS
from tagformer.images.reading import load_image

MEGABYTE = 1 << 20
WARM_UP = 8.0  # seconds
START = "from tagformer.cli import main; main()"


class Client:
    """A connection that stays open."""

    def __init__(self, address: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)

    def post(self, path: str, body: bytes, kind: str = "application/octet-stream") -> tuple[int, Any, float]:
        """The status, the answer, and the seconds that it took."""
        start = time.perf_counter()
        self.connection.request("POST", path, body, {"Content-Type": kind})
        answer = self.connection.getresponse()
        content = json.loads(answer.read())
        return answer.status, content, time.perf_counter() - start

    def get(self, path: str) -> str:
        """A page."""
        self.connection.request("GET", path)
        return self.connection.getresponse().read().decode()


@contextmanager
def server(run: Path, *options: str) -> Iterator[str]:
    """The address of a server that runs within the block."""
    command = [sys.executable, "-c", START, "serve", str(run), "--no-page", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        if found is None:
            sys.exit("the server did not start")
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def photographs(folder: Path | None, count: int = 64) -> list[bytes]:
    """Encoded images: the first of a folder, or drawn ones."""
    if folder is not None:
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in EXTENSIONS)
        return [file.read_bytes() for file in files[:count]]
    images = []
    for record in load_dataset("scenes?images=128", "train").subset(range(count)):
        buffer = io.BytesIO()
        load_image(record.image).resize((640, 480)).save(buffer, "JPEG")
        images.append(buffer.getvalue())
    return images


def figures(seconds: list[float]) -> str:
    """The median and the 99th percentile, in milliseconds."""
    ordered = sorted(seconds)
    high = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    return f"median {1000 * statistics.median(ordered):7.1f} ms   p99 {1000 * high:7.1f} ms"


def resident(client: Client) -> float:
    """The memory of the server in MB, as it reports it."""
    found = re.search(r"^process_resident_memory_bytes (\S+)", client.get("/metrics"), re.MULTILINE)
    return float(found[1]) / MEGABYTE if found else float("nan")


def clicks(address: str, images: list[bytes], rounds: int) -> None:
    """From a click to probabilities, on the kept features and with the image sent again, in turns."""
    client = Client(address)
    labels = json.loads(client.get("/v1/labels"))
    if not labels["uses_known"]:
        print("the model does not use known labels: there are no clicks to measure")
        return
    names = [label["name"] for label in labels["labels"] if not label["extra"]]
    kept, again = [], []
    for number in range(rounds):
        image = images[number % len(images)]
        _, tagged, _ = client.post("/v1/tag", image)
        known = {names[number % len(names)]: True}
        question = {"id": tagged["image"]["id"], "known": known, "threshold": 0}
        _, decoded, seconds = client.post("/v1/decode", json.dumps(question).encode(), "application/json")
        kept.append(seconds)
        query = "/v1/tag?threshold=0&known=" + quote(json.dumps(known))
        _, encoded, seconds = client.post(query, image)
        again.append(seconds)
        differences = zip(decoded["tags"], encoded["tags"], strict=True)
        assert max(abs(one["probability"] - other["probability"]) for one, other in differences) < 1e-3
    print(f"a click, kept features   {figures(kept)}")
    print(
        f"a click, encoded again   {figures(again)}   ({statistics.median(again) / statistics.median(kept):.1f} times)"
    )


def load(address: str, images: list[bytes], clients: int, seconds: float) -> tuple[Counter[int], list[float]]:
    """Send images by so many clients for a time: how often each status came, and the seconds of each answer."""
    end, together = time.perf_counter() + seconds, threading.Barrier(clients)

    def client(number: int) -> tuple[Counter[int], list[float]]:
        connection, statuses, times = Client(address), Counter[int](), []
        together.wait()
        while time.perf_counter() < end:
            number += 1
            status, _, taken = connection.post("/v1/tag", images[number % len(images)])
            statuses[status] += 1
            if status == 200:
                times.append(taken)
        return statuses, times

    with ThreadPoolExecutor(clients) as pool:
        results = list(pool.map(client, range(clients)))
    return sum((one for one, _ in results), Counter[int]()), [taken for _, ones in results for taken in ones]


def throughput(address: str, images: list[bytes], clients: int, seconds: float) -> None:
    """Images per second by so many clients, times, and memory after a warm-up and at the end."""
    load(address, images, clients, WARM_UP)
    before = resident(Client(address))
    statuses, times = load(address, images, clients, seconds)
    page = Client(address).get("/metrics")  # a connection that is not used for some seconds is closed
    encoded, batches = (
        float(re.search(rf"^tagformer_encoded_batch_size_{name} (\S+)", page, re.MULTILINE)[1])  # type: ignore[index]
        for name in ("sum", "count")
    )
    after = resident(Client(address))
    print(f"  {statuses[200] / seconds:7.1f} images/s   {figures(times)}   {encoded / batches:.1f} images per batch")
    print(f"  statuses {dict(statuses)}, memory {before:.0f} MB, then {after:.0f} MB ({after / before:.2f} times)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--clicks", type=int, default=50)
    options = parser.parse_args()
    images = photographs(options.images)
    with server(options.run) as address:
        clicks(address, images, options.clicks)
    for title, batches in (
        ("one image at a time", ("--batch-size", "1", "--batch-delay-ms", "0")),
        ("micro-batches", ()),
        ("one image at a time", ("--batch-size", "1", "--batch-delay-ms", "0")),
        ("micro-batches", ()),
    ):
        print(f"{title}, {options.clients} clients")
        with server(options.run, *batches) as address:
            throughput(address, images, options.clients, options.seconds)


if __name__ == "__main__":
    main()
