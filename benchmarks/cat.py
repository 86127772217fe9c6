"""What pre-max attention saves in the cross-layer fusion of CAT: time and peak memory, against full attention.

Both fusions of the full-size model (1024 channels, 8 heads, feed-forward 2048) run on one image of 448 and one of 896
pixels, with the fused attention of torch and with an explicit softmax. Each case runs in its own process. "ratio" is
the time divided by that of pre-max attention with the same softmax at the same size. Times include the feed-forward
networks at every position, which both kinds of attention need; "products" are the score and value products, in
multiply-adds.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from tagformer.models.cat import CrossLayerFusion

WIDTH, HEADS, FEEDFORWARD, ROUNDS = 1024, 8, 2048, 3
FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@torch.inference_mode()
def measure(attention: str, explicit: bool, size: int) -> tuple[float, float]:
    """Seconds of both fusions, and the peak memory in MB that they need in addition."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    levels = [torch.randn(1, WIDTH, size // stride, size // stride, device=device) for stride in (8, 16, 32)]
    layers = [CrossLayerFusion(WIDTH, HEADS, FEEDFORWARD, 0.1, True, attention).eval().to(device) for _ in range(2)]

    def work() -> None:
        with sdpa_kernel([SDPBackend.MATH] if explicit else FUSED):
            layers[1](layers[0](levels[2], levels[1]), levels[0])
        if device.type == "cuda":
            torch.cuda.synchronize()

    small = [level[:, :, :4, :4] for level in levels]
    layers[1](layers[0](small[2], small[1]), small[0])  # so that start-up memory is not counted
    before = peak(device)
    work()
    memory = peak(device) - before
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times), memory


def peak(device: torch.device) -> float:
    """The peak memory so far, in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def products(attention: str, size: int) -> float:
    """Multiply-adds of the score and value products of both fusions (Eqs. 6 and 7)."""
    total = 0
    for coarse in (size // 32, size // 16):
        queries = 1 if attention == "pre_max" else coarse**2
        total += 2 * queries * (2 * coarse) ** 2 * WIDTH
    return total


def main() -> None:
    context = multiprocessing.get_context("spawn")
    print(
        f"{'pixels':>6} {'softmax':>9} {'attention':>9} {'products':>10} {'seconds':>9} {'ratio':>6} {'memory MB':>10}"
    )
    for size in (448, 896):
        for explicit in (True, False):
            base = 0.0
            for attention in ("pre_max", "full"):
                with context.Pool(1) as pool:
                    seconds, memory = pool.apply(measure, (attention, explicit, size))
                base = base or seconds
                kind = "explicit" if explicit else "fused"
                print(
                    f"{size:>6} {kind:>9} {attention:>9} {products(attention, size):>10.2e} {seconds:>9.3f} "
                    f"{seconds / base:>6.2f} {memory:>10.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
