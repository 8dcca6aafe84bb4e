"""Commands that are killed at any moment end, when they are given again, in the same files."""

import shutil
import signal
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from network.datasets.files import write_image
from network.datasets.info import VAIHINGEN
from tests.datasets.preparation.test_official import tile_files, write_zip
from tests.faults.conftest import killed_after, leftovers, ownerless_semaphores

pytestmark = pytest.mark.slow

KILLS, ENDS, EPOCHS = 20, 5, 24
TRAIN = ("train.py", "-c", "fields.py", "--accelerator", "cpu", f"optim.epochs={EPOCHS}")


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the log of the trial and records, whose order is that of the work."""
    skipped = ("log.txt", "images.jsonl", "maps.jsonl")
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in skipped]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def rounds(rng: np.random.Generator, kills: int, ends: int) -> list[tuple[int, bool]]:
    """Signals in random order: ``kill -9`` of all processes or of the first alone, SIGTERM."""
    found = [(signal.SIGKILL, bool(n % 2)) for n in range(kills)]
    found += [(signal.SIGTERM, True)] * ends
    return [found[place] for place in rng.permutation(len(found))]


def test_training(launcher, project, tmp_path, trials, count):
    """Training, killed and resumed: weights to the last bit."""
    cwd = tmp_path
    for name in ("fields.py", "data"):
        (cwd / name).symlink_to(project / name)
    whole = launcher.run(cwd, *TRAIN, "name=whole")
    assert whole.code == 0, whole.log[-2000:]
    expected = torch.load(cwd / "model_weights/whole/version_0/last.ckpt", weights_only=True)
    seconds, rng = whole.seconds, np.random.default_rng(0)
    number, done = 0, False
    for signaled, group in rounds(rng, trials(KILLS), trials(ENDS)):
        if done:  # it had time to end: another training
            number, done = number + 1, False
        run = cwd / f"model_weights/killed{number}"
        last = sorted(run.glob("version_*/last.ckpt"))
        resume = ["--resume", str(last[-1])] if last else []
        kill = killed_after(rng.uniform(0.1, 0.35) * seconds, signaled, group=group)
        ended = launcher.run(cwd, *TRAIN, f"name=killed{number}", *resume, kill=kill)
        count.note("ended before" if ended.code == 0 else "killed")
        right = (0, 130) if signaled == signal.SIGTERM else (0, -9)
        text = f"{signal.Signals(signaled).name}: exit code {ended.code}, {ended.log[-1500:]}"
        count.add(ended.code in right and "Traceback" not in ended.log, text)
        last = sorted(run.glob("version_*/last.ckpt"))
        done = bool(last) and _epochs(last[-1]) == EPOCHS
    for other in range(number + 1):
        run = cwd / f"model_weights/killed{other}"
        last = sorted(run.glob("version_*/last.ckpt"))
        resume = ["--resume", str(last[-1])] if last else []
        ended = launcher.run(cwd, *TRAIN, f"name=killed{other}", *resume)
        is_done = ended.error is not None and f"all {EPOCHS} epochs are done" in ended.error
        count.add(ended.code == 0 or is_done, ended.log[-1500:])
        figures = list((cwd / f"lightning_logs/killed{other}").glob("version_*/panel.png"))
        count.add(len(figures) == 1, f"figures: {figures}")
        last = sorted(run.glob("version_*/last.ckpt"))[-1]
        found = torch.load(last, weights_only=True)["state_dict"]
        wrong = [n for n, value in expected["state_dict"].items() if not value.equal(found[n])]
        count.add(not wrong, f"other weights: {wrong[:3]}")
        count.add(not leftovers(last.parent), f"left over: {leftovers(last.parent)}")


def _epochs(checkpoint: Path) -> int:
    return torch.load(checkpoint, weights_only=True)["epoch"] + 1


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> Path:
    """Whole tiles of Vaihingen, tiny ones, and LoveDA's archives."""
    folder = tmp_path_factory.mktemp("archives")
    for number, tile in enumerate(VAIHINGEN.tile_splits["test"]):
        files = tile_files(folder / "raw", VAIHINGEN, tile, number)
        for kind in ("image", "mask"):
            (folder / f"{kind}s").mkdir(exist_ok=True)
            shutil.copy(files[kind], folder / f"{kind}s")
    rng = np.random.default_rng(0)
    for number, (part, domain) in enumerate(product(("Train", "Val"), ("Rural", "Urban"))):
        members = {}
        for name in range(100 * number, 100 * number + 40):
            image = folder / f"raw/{name}_image.png"
            write_image(image, rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
            mask = folder / f"raw/{name}_mask.png"
            write_image(mask, rng.integers(0, 8, (64, 64), dtype=np.uint8))
            members[f"{part}/{domain}/images_png/{name}.png"] = image
            members[f"{part}/{domain}/masks_png/{name}.png"] = mask
        write_zip(folder / f"zips/{part}_{domain}.zip", members)
    return folder


def campaign(launcher, cwd, argv, count, kills, ends, seed):
    """Kill a command again and again, then let it end; its files are those of a quiet run.

    Args:
        argv: the command; in it ``OUT`` is its output folder.
    """

    def command(name: str) -> list[str]:
        return [word.replace("OUT", name) for word in argv]

    there_before = set(ownerless_semaphores())
    quiet = launcher.run(cwd, *command("quiet"))
    assert quiet.code == 0, quiet.log[-2000:]
    rng, number = np.random.default_rng(seed), 0
    for signaled, group in rounds(rng, kills, ends):
        kill = killed_after(rng.uniform(0.02, 0.9) * quiet.seconds, signaled, group=group)
        ended = launcher.run(cwd, *command(f"out{number}"), kill=kill)
        right = (0, 130) if signaled == signal.SIGTERM else (0, -9)
        text = f"{signal.Signals(signaled).name}: exit code {ended.code}, {ended.log[-1500:]}"
        count.add(ended.code in right and "Traceback" not in ended.log, text)
        if ended.code == 0:
            count.note("ended before")
            number += 1  # what is done is not done again: another folder
        else:
            count.note("killed")
    expected = contents(cwd / "quiet")
    for other in range(number + 1):
        name = f"out{other}"
        ended = launcher.run(cwd, *command(name))
        count.add(ended.code == 0, ended.log[-1500:])
        found = {
            path: content.replace(name.encode(), b"quiet")
            for path, content in contents(cwd / name).items()
        }
        wrong = [path for path in expected.keys() | found.keys()
                 if expected.get(path) != found.get(path)]  # fmt: skip
        count.add(not wrong, f"{name} differs in {sorted(wrong)[:5]}")
    count.add(not leftovers(cwd), f"left over: {leftovers(cwd)}")
    left = set(ownerless_semaphores()) - there_before
    count.add(not left, f"left in shared memory: {left}")


def test_testing(launcher, project, trials, count):
    """Test of a split, killed and given again: masks and scores."""
    argv = ["test_custom.py", "-c", "fields.py", "-o", "OUT", "--checkpoint", "weights.ckpt"]
    argv += ["--device", "cpu", "-t", "d4"]
    campaign(launcher, project, argv, count, trials(KILLS), trials(ENDS), 1)


def test_predicting(launcher, project, tmp_path, trials, count):
    """Prediction of a folder, killed and given again: masks."""
    for name in ("fields.py", "data", "weights.ckpt"):
        (tmp_path / name).symlink_to(project / name)
    argv = ["predict.py", "-c", "fields.py", "-o", "OUT", "--checkpoint", "weights.ckpt"]
    argv += ["--device", "cpu", "-t", "dihedral", "-i", "data/test/images"]
    campaign(launcher, tmp_path, argv, count, trials(KILLS), trials(ENDS), 2)


def test_cutting(launcher, archives, tmp_path, trials, count):
    """Cutting of patches, killed and given again: all patches."""
    for name in ("images", "masks"):
        (tmp_path / name).symlink_to(archives / name)
    argv = ["tools/vaihingen_patch_split.py", "--img-dir", "images", "--mask-dir", "masks"]
    argv += ["--output-img-dir", "OUT/images", "--output-mask-dir", "OUT/masks", "--workers", "2"]
    argv += ["--split-size", "32", "--stride", "8"]
    campaign(launcher, tmp_path, argv, count, trials(KILLS), trials(ENDS), 3)


def test_preparing(launcher, archives, tmp_path, trials, count):
    """Preparation from archives, killed and given again: the whole data set."""
    (tmp_path / "zips").symlink_to(archives / "zips")
    argv = ["tools/prepare_data.py", "loveda", "--archives", "zips", "--output", "OUT"]
    argv += ["--partial", "--workers", "1"]
    campaign(launcher, tmp_path, argv, count, trials(KILLS), trials(ENDS), 4)
