"""Whatever happens to the store: kills, full disks, damage, several processes, and a bound on its size."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tagformer.errors import CannotWriteError, DoesNotFitError
from tagformer.features import FeatureStore
from tagformer.features.remember import SEGMENT
from tests.features.pictures import backbone, draw, remember
from tests.helpers import largest_file

SIZE = 128 * 4 * 4 * 2  # bytes of an image's features
FREE = shutil.disk_usage(".")._replace(free=10**12)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "store")


def segments(store: FeatureStore) -> list[Path]:
    return sorted(store.folder.glob("*/[!.]*.safetensors"))  # without those that are being written


def start(folder: Path, store: FeatureStore, seconds: float) -> subprocess.Popen[str]:
    """Another process that remembers the pictures in a folder."""
    code = "from tests.features.pictures import main; main()"
    command = [sys.executable, "-c", code, str(folder), str(store.folder), str(seconds)]
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), str(root / "src")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, "the process has ended"
        time.sleep(0.01)


def test_a_killed_process_loses_at_most_a_segment(tmp_path: Path, store: FeatureStore) -> None:
    files = draw(tmp_path / "images", 4 * SEGMENT)
    with start(tmp_path / "images", store, seconds=0.1) as process:
        wait_until(lambda: len(segments(store)) >= 2, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    done = len(segments(store))
    assert 2 <= done < 4
    (segments(store)[0].parent / ".half.written").write_text("by the killed process")
    features, seen = remember(files, store)
    assert seen == (4 - done) * SEGMENT
    assert not list(store.folder.glob("*/.*"))
    whole, _ = remember(files, FeatureStore(tmp_path / "another"))
    torch.testing.assert_close(features.maps(range(256)), whole.maps(range(256)), rtol=2**-9, atol=1e-3)


def test_the_second_of_two_processes_waits_and_computes_nothing(tmp_path: Path, store: FeatureStore) -> None:
    files, messages = draw(tmp_path / "images", SEGMENT), []
    with start(tmp_path / "images", store, seconds=0.2) as first:
        wait_until(lambda: list(store.folder.glob("*/used")), first)
        store.message = messages.append
        assert remember(files, store)[1] == 0
        output, _ = first.communicate(timeout=120)
    assert messages[0] == "Another process is computing the same features: waiting until it is done."
    assert "all there already" in messages[1]
    assert output.splitlines()[-1] == f"seen {SEGMENT} of {SEGMENT}"


def test_a_full_disk_is_one_sentence_and_what_is_complete_stays(tmp_path: Path, store: FeatureStore) -> None:
    files = draw(tmp_path / "images", SEGMENT + 8)
    remember(files[:8], store)
    message = r"cannot write .*\.safetensors \(File too large\): free some space, and run the same command again, or "
    with largest_file(100_000), pytest.raises(CannotWriteError, match=message + ".*--cache-gb 0"):
        remember(files, store)
    assert len(segments(store)) == 1
    assert not list(store.folder.glob("*/.*"))
    assert remember(files, store)[1] == SEGMENT


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(CannotWriteError, match=r"^cannot write .*store.*TAGFORMER_CACHE"):
        remember(draw(tmp_path / "images", 8), FeatureStore(tmp_path / "locked" / "store"))


def test_a_file_in_the_place_of_the_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CannotWriteError, match=r"^cannot write .*store \(Not a directory\).*TAGFORMER_CACHE"):
        remember(draw(tmp_path / "images", 8), FeatureStore(tmp_path / "file" / "store"))


def cut_off(data: bytes) -> bytes:
    return data[:-100]


def emptied(data: bytes) -> bytes:
    return b""


def one_bit_flipped(data: bytes) -> bytes:
    return data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:]


def header_garbled(data: bytes) -> bytes:
    return data[:20] + b"\xff" * 20 + data[40:]


def another_digest(data: bytes) -> bytes:
    """A header that is valid, but names another image."""
    place = re.search(rb'\[\\"([0-9a-f]{32})', data)
    assert place
    return data[: place.start(1)] + b"0" * 32 + data[place.end(1) :]


def no_digests(data: bytes) -> bytes:
    return data.replace(b'"digests"', b'"digestX"')


@pytest.mark.parametrize("damage", [cut_off, emptied, one_bit_flipped, header_garbled, another_digest, no_digests])
def test_a_damaged_segment_is_noticed_and_computed_again(
    tmp_path: Path, store: FeatureStore, damage: Callable[[bytes], bytes]
) -> None:
    files = draw(tmp_path / "images", SEGMENT + 8)
    whole, _ = remember(files, store)
    before = whole.maps(range(len(files)))[0]
    damaged = max(segments(store), key=lambda path: path.stat().st_size)
    content = damage(damaged.read_bytes())
    assert content != damaged.read_bytes()
    damaged.unlink()  # another file: the old one is still mapped
    damaged.write_bytes(content)
    messages: list[str] = []
    store.message = messages.append
    features, seen = remember(files, store)
    assert seen == SEGMENT
    assert messages[0].startswith(f"Warning: {damaged} is damaged (")
    assert torch.equal(features.maps(range(len(files)))[0], before)


def test_the_size_is_said_beforehand(tmp_path: Path, store: FeatureStore) -> None:
    files, messages = draw(tmp_path / "images", 40), []
    store.message = messages.append
    remember(files[:16], store, views=["plain", "mirror"])
    remember(files, store, views=["plain", "mirror"])
    assert messages == [
        f"16 images x 2 views: 131 kB of remembered features, 131 kB to compute (in {store.folder}).",
        f"40 images x 2 views: 328 kB of remembered features, 197 kB to compute (in {store.folder}).",
    ]


def test_the_oldest_goes_when_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: FREE)
    files, messages = draw(tmp_path / "images", 8), []
    store = FeatureStore(tmp_path / "store", limit_gb=3.5 * 8 * SIZE / 1e9, message=messages.append)
    networks = [backbone(seed) for seed in range(4)]
    keys = []
    for age, network in enumerate(networks[:3]):
        remember(files, store, network)
        keys.append(({bank.key for bank in store.banks()} - set(keys)).pop())
        os.utime(store.folder / keys[-1] / "used", (1000 + age, 1000 + age))
    assert remember(files, store, networks[0])[1] == 0  # so the second is the oldest now
    remember(files, store, networks[3])
    left = {bank.key for bank in store.banks()}
    assert set(keys) - left == {keys[1]}
    assert messages[-2] == "The oldest remembered features were removed to make room (1 set)."
    assert remember(files, store, networks[1])[1] == 8


def test_what_is_in_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: FREE)
    files = draw(tmp_path / "images", 8)
    store = FeatureStore(tmp_path / "store", limit_gb=1.5 * 8 * SIZE / 1e9)
    used, _ = remember(files, store, backbone(0))
    with pytest.raises(DoesNotFitError, match="need 33 kB, but --cache-gb allows 49 kB for all that is in"):
        remember(files, store, backbone(1))
    assert remember(files, store, backbone(0))[1] == 0
    del used
    assert remember(files, store, backbone(1))[1] == 8


def test_features_that_do_not_fit_remove_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: FREE)
    files = draw(tmp_path / "images", 24)
    store = FeatureStore(tmp_path / "store", limit_gb=1.5 * 8 * SIZE / 1e9)
    remember(files[:8], store, backbone(0))
    with pytest.raises(DoesNotFitError, match=r"need 98 kB, but --cache-gb allows 49 kB.*, or use fewer"):
        remember(files, store, backbone(1))
    assert remember(files[:8], store, backbone(0))[1] == 0


def test_at_most_half_of_the_free_disk_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: FREE._replace(free=20 * SIZE))
    store = FeatureStore(tmp_path / "store")
    with pytest.raises(DoesNotFitError, match="but half of the free disk space allows 41 kB"):
        remember(draw(tmp_path / "images", 12), store)
    assert remember(draw(tmp_path / "images", 8), store)[1] == 8


def test_the_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGFORMER_CACHE", str(tmp_path))
    assert FeatureStore().folder == tmp_path / "features"
    monkeypatch.delenv("TAGFORMER_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert FeatureStore().folder == Path.home() / ".cache" / "tagformer" / "features"


def test_a_disk_without_locks_is_used_without_them(
    tmp_path: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def acquire(*arguments: object, **options: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    files = draw(tmp_path / "images", 8)
    assert [remember(files, store)[1] for _ in range(2)] == [8, 0]
    assert not store.banks()[0].remove()
