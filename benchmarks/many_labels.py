"""C-Tran with many labels: the time of `decode`, and the memory, with and without latents.

ResNet-50 at 224 pixels, width 512, two layers, two images. Each number of labels is measured in a process of its own.
Times are multiples of the time of `encode` in the same process; memory is that of the whole process at its peak.

    python benchmarks/many_labels.py
    python benchmarks/many_labels.py --labels 80,10000 --known 5000
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

LABELS, LATENTS, ROUNDS = "80,500,1000,3000,10000", "0,32", 5
MOST_QUADRATIC = 3000  # labels; 10,000 take half a minute for each image without latents


def measure(labels: int, latents: int, known: int) -> dict[str, float]:
    """Seconds of `encode` and `decode`, medians over rounds in which they take turns, and the peak memory in MB."""
    import torch

    from tagformer import create_model
    from tagformer.backbones.folding import fold_batch_norms

    torch.manual_seed(0)
    model = create_model("ctran", labels, "resnet50", pretrained=False, width=512, layers=2, latents=latents).eval()
    model.to(memory_format=torch.channels_last)
    fold_batch_norms(model.backbone, 224)
    images = torch.randn(2, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    states = torch.full((2, labels), -1, dtype=torch.int8)
    states[:, :known] = torch.randint(0, 2, (2, min(known, labels)), dtype=torch.int8)
    with torch.inference_mode():
        features = model.encode(images)
        rounds = [
            (seconds(lambda: model.encode(images)), seconds(lambda: model.decode(features, states)))
            for _ in range(ROUNDS + 1)
        ][1:]
    encode, decode = (statistics.median(column) for column in zip(*rounds, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"encode": encode, "decode": decode, "ratio": decode / encode, "memory": peak}


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Measure each number of labels, with each number of latents, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", default=LABELS)
    parser.add_argument("--latents", default=LATENTS, help="0: every token attends to every other")
    parser.add_argument("--known", type=int, default=10, help="known labels of each image")
    parser.add_argument("--one", action="store_true", help="measure in this process, and print JSON")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(int(arguments.labels), int(arguments.latents), arguments.known)))
        return
    print(f"{'latents':>8}{'labels':>8}{'encode, s':>11}{'decode, s':>11}{'ratio':>8}{'memory, MB':>12}")
    for latents in map(int, arguments.latents.split(",")):
        for labels in map(int, arguments.labels.split(",")):
            if not latents and labels > MOST_QUADRATIC:
                continue
            command = [sys.executable, __file__, "--one", "--labels", str(labels), "--latents", str(latents)]
            command += ["--known", str(arguments.known)]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            figures = f"{row['encode']:>11.2f}{row['decode']:>11.2f}{row['ratio']:>8.2f}{row['memory']:>12.0f}"
            print(f"{latents:>8}{labels:>8}{figures}", flush=True)


if __name__ == "__main__":
    main()
