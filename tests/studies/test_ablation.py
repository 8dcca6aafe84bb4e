"""Ablations: what each row is, runs that go on where they stopped, and the table of them."""

import json
import re
from dataclasses import replace

import pytest

from network.config import load_experiment, override, settings
from network.datasets.files import read_mask, write_image
from network.datasets.info import POTSDAM, VAIHINGEN
from network.errors import InputError
from network.models.d2ls import D2LS
from network.points.rules import PointRule
from network.studies.ablation import (
    check_overrides,
    claim_folder,
    collect,
    is_done,
    measure_costs,
    prepare_labels,
    result_folder,
    run_variant,
    to_markdown,
    training_masks,
    variant_experiment,
    write_figure,
)
from network.studies.ablation_tables import TABLES, Table, Variant
from tests.commands import error_of, run, succeed
from tests.conftest import ROOT
from tests.scenes import make_dataset
from tests.test_commands import OVERRIDES

CONFIG = ROOT / "config/vaihingen/bicor.py"
POINTS_CONFIG = ROOT / "config/potsdam/resnet18_points.py"
SMALL = [*OVERRIDES, "data.workers=0", "optim.lookahead=False"]

ALL = [(name, variant) for name, table in TABLES.items() for variant in table.variants]


@pytest.mark.parametrize(("table", "variant"), ALL, ids=[f"{t}-{v.slug}" for t, v in ALL])
def test_every_variant_builds(table, variant):
    """With the base's encoder and data, under a name and a seed of its own."""
    config = POINTS_CONFIG if TABLES[table].has_points else CONFIG
    encoder = "test_vit" if "model.lora=8" in variant.overrides else "test_convnext"
    words = [f"model.encoder={encoder}", "model.weights=None"]
    if table == "methods":
        words.append("model.drop_path=0")
    base = load_experiment(config, words)
    experiment = variant_experiment(base, table, variant, 7)
    chosen = settings(experiment)
    assert (experiment.seed, chosen["model.encoder"]) == (7, encoder)
    assert experiment.name == f"ablation/{table}/{base.dataset.name}/{variant.slug}/seed7"
    assert chosen["data.train_labels"] == variant.labels
    assert chosen["optim.lr"] == base.optim.lr
    for word in variant.overrides:
        key, _, value = word.partition("=")
        assert str(chosen[key]) == value, key
    assert experiment.loss().ignore_index == 6
    experiment.build_model()


def test_slugs_are_folders_of_their_own():
    for table in TABLES.values():
        slugs = [variant.slug for variant in table.variants]
        assert len(set(slugs)) == len(slugs)
        assert all(re.fullmatch(r"[\w.=-]+", slug) for slug in slugs)


def test_the_baseline_is_d2ls_with_the_main_loss_alone():
    base = load_experiment(CONFIG, ["model.encoder=test_convnext", "model.weights=None"])
    variant = TABLES["components"].variants[0]
    experiment = variant_experiment(base, "components", variant, 0)
    assert isinstance(experiment.build_model(), D2LS)
    chosen = settings(experiment)
    assert (chosen["model.layers"], chosen["model.aux"]) == (3, False)
    assert chosen["loss.contrastive"] == 0
    published = {v.name: v.published["loveda"] for v in TABLES["components"].variants}
    assert published["cross-attention baseline"] == 54.20
    assert published["HBIS + both"] == 55.49


def test_some_rows_of_a_table():
    """In the order of the table; a name that it lacks is told, with the nearest one."""
    layers = TABLES["layers"]
    assert [v.name for v in layers.of(["L = 3", "L = 1"]).variants] == ["L = 1", "L = 3"]
    with pytest.raises(InputError, match=r"variants='L=2': .* did you mean 'L = 2'"):
        layers.of(["L=2"])
    with pytest.raises(InputError, match="give each once"):
        layers.of(["L = 1", "L = 1"])


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A table of two variants, on tiny data, in an empty folder."""
    make_dataset(tmp_path / "data", VAIHINGEN, {"train": 2, "val": 1, "test": 2})
    monkeypatch.chdir(tmp_path)
    variants = (
        Variant("one layer", "bicor", ("model.layers=1",), {"vaihingen": 84.5}),
        Variant("attention", "d2ls", ("model.layers=1", "model.aux=False")),
    )
    return Table("A small table", variants)


def test_methods_share_encoder_data_and_optimizer():
    """Each decoder has its own width and loss; BiCoR-Seg's settings are not the baselines'."""
    words = ["model.encoder=tf_efficientnet_lite0", "model.weights=None", "model.dim=96"]
    words.append("model.drop_path=0")
    base = load_experiment(CONFIG, words)
    chosen = {
        v.name: settings(variant_experiment(base, "methods", v, 1))
        for v in TABLES["methods"].variants
    }
    for key in ("model.encoder", "model.weights", "data.crop", "optim.lr", "loss.smoothing"):
        assert len({str(one[key]) for one in chosen.values()}) == 1, key
    assert {name: one.get("model.dim") for name, one in chosen.items()} == {
        **dict.fromkeys(chosen),
        **{"BiCoR-Seg": 96, "D2LS": 96, "UNetFormer": 64},
    }
    assert "loss.fisher" in chosen["BiCoR-Seg"]
    assert "loss.fisher" not in chosen["U-Net"]


@pytest.mark.slow
def test_runs_and_table(small, tmp_path):
    base, output = load_experiment(CONFIG, SMALL), tmp_path / "out"
    claim_folder(output, "small", base, "test")
    for seed in (1, 2):
        for variant in small.variants:
            folder = result_folder(output, variant, seed)
            assert not is_done(folder)
            experiment = variant_experiment(base, "small", variant, seed)
            run_variant(experiment, folder, "test", accelerator="cpu")
            assert is_done(folder)
    checkpoints = {p: p.stat().st_mtime_ns for p in (tmp_path / "model_weights").rglob("*.ckpt")}
    assert len(checkpoints) == 2 * 2 * 2
    run_variant(experiment, folder, "test", accelerator="cpu")  # done: nothing is trained again
    assert {p: p.stat().st_mtime_ns for p in checkpoints} == checkpoints

    comparisons = collect(output, small, (1, 2))
    assert [comparison.kind for comparison in comparisons] == ["eroded", "full"]
    text = to_markdown(small, comparisons, "vaihingen")
    document = [
        json.loads((result_folder(output, small.variants[0], s) / "scores.json").read_text())
        for s in (1, 2)
    ]
    mean = sum(d["scores"]["full"]["mIoU"] for d in document) / 2
    eroded, full = (x for x in text.splitlines() if x.startswith("| one layer | 2 |"))
    assert f"{100 * mean:.2f} ±" in full
    # The published row is of eroded masks.
    assert eroded.endswith("| 84.50 |")
    assert full.endswith("| - |")
    assert "| attention | 2 |" in text
    write_figure(small, comparisons[0], output / "figure.png")
    assert (output / "figure.png").stat().st_size > 5000
    assert "- attention - one layer: mIoU " in text

    costs = measure_costs(base, small, "small")
    model = variant_experiment(base, "small", small.variants[0], 1).build_model()
    assert costs[0].parameters == sum(p.numel() for p in model.parameters()) / 1e6
    assert costs[0].side == 32 * -(-base.data.crop // 32)
    methods = replace(small, has_costs=True)
    lines = to_markdown(methods, comparisons, "vaihingen", costs).splitlines()
    head, row = [x for x in lines if x.startswith(("| variant", "| one layer"))][:2]
    assert "| ECE | " in head
    assert head.count("|") == row.count("|")
    assert f"| {costs[0].parameters:.1f} | {costs[0].gmacs:.2f} |" in row
    write_figure(methods, comparisons[0], output / "costs.png", costs)
    assert (output / "costs.png").stat().st_size > 5000


def test_a_folder_of_another_ablation(small, tmp_path):
    base, output = load_experiment(CONFIG, SMALL), tmp_path / "out"
    claim_folder(output, "components", base, "test")
    claim_folder(output, "components", base, "test")
    with pytest.raises(InputError, match=r"holds another ablation \(table components, not layers"):
        claim_folder(output, "layers", base, "test")
    imagenet = load_experiment(CONFIG, [*SMALL, "model.weights=imagenet"])
    # A pretrained encoder also has its own normalization.
    with pytest.raises(InputError, match=r"data.std .* and model.weights None, not imagenet\)"):
        claim_folder(output, "components", imagenet, "test")
    longer = load_experiment(CONFIG, [*SMALL, "optim.epochs=9"])
    with pytest.raises(InputError, match=r"another ablation \(optim.epochs 1, not 9\)"):
        claim_folder(output, "components", longer, "test")
    # A folder of code that did not have a setting yet is this one.
    record = json.loads((output / "ablation.json").read_text())
    del record["model.bands"], record["optim.step"]
    (output / "ablation.json").write_text(json.dumps(record))
    claim_folder(output, "components", base, "test")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("")
    with pytest.raises(InputError, match="mine: holds other files"):
        claim_folder(tmp_path / "mine", "components", base, "test")


def test_what_is_shared_and_what_is_not():
    words = ["model.encoder=test_convnext", "model.weights=None", "loss.smoothing=0.2"]
    words += ["model.checkpoint_encoder=True", "data.crop=64", "model.drop_path=0"]
    check_overrides(words, TABLES["components"])
    base = load_experiment(CONFIG, words)
    for table, variant in ALL:
        if TABLES[table].is_of_base:
            continue
        chosen = settings(variant_experiment(base, table, variant, 1))
        assert chosen["loss.smoothing"] == 0.2
        # The baselines have no such setting.
        if variant.network not in ("smp", "unetformer"):
            assert chosen["model.checkpoint_encoder"] is True
        if table == "d2ls":
            assert chosen["model.layers"] == 2  # as D2LS has on Vaihingen
    for word in ("model.layers=1", "loss.fisher=2", "seed=4", "name=x"):
        with pytest.raises(InputError, match=f"override '{word}'"):
            check_overrides([word], TABLES["components"])
    baseline = load_experiment(ROOT / "config/baselines/vaihingen.py", words[:2])
    with pytest.raises(InputError, match="give a config of BiCoR-Seg or D2LS"):
        variant_experiment(baseline, *ALL[0], 1)
    with pytest.raises(InputError, match="its loss is not PartialCrossEntropy"):
        variant_experiment(baseline, "points", TABLES["points"].variants[0], 1)


POINT_WORDS = [*OVERRIDES, "data.workers=0", "data.repeat=2"]


@pytest.fixture
def points(tmp_path, monkeypatch):
    """Points and full masks, with the base's model and loss."""
    make_dataset(tmp_path / "data", POTSDAM, {"train": 2, "val": 1, "test": 1})
    monkeypatch.chdir(tmp_path)
    words = [word for word in POINT_WORDS if not word.startswith("model.drop_path")]
    words[words.index("data.crop=32")] = "data.crop=64"
    override = ("loss.weights=none",)
    variants = (
        Variant("few", None, override, points=PointRule(share=1.0)),
        Variant("more", None, override, points=PointRule(share=10.0)),
        Variant("full masks", None, override, has_full_masks=True),
    )
    return load_experiment(POINTS_CONFIG, words), Table("Points", variants)


@pytest.mark.slow
def test_points_and_full_masks(points, tmp_path):
    """Points are drawn once; each run has its labels; the figure has a line and a dashed one."""
    base, table = points
    prepare_labels(base, table, training_masks(base))
    folders = sorted(path.name for path in (tmp_path / "data/train").glob("study_*"))
    assert folders == ["study_uniform_1", "study_uniform_10"]
    drawn = {p: p.stat().st_mtime_ns for p in (tmp_path / "data/train").rglob("study_*/*")}
    masks = training_masks(base)
    prepare_labels(base, table, masks)
    assert {p: p.stat().st_mtime_ns for p in drawn} == drawn
    mask = next((tmp_path / "data/train/masks_1024").iterdir())
    labels = read_mask(mask, POTSDAM)
    claim_folder(tmp_path / "study", "points", base, "test", masks)
    write_image(mask, POTSDAM.ignore_index - labels)  # cut anew, otherwise
    with pytest.raises(InputError, match=r"study: holds another ablation \(masks "):
        claim_folder(tmp_path / "study", "points", base, "test", training_masks(base))
    prepare_labels(base, table, training_masks(base))
    assert all(p.stat().st_mtime_ns > time for p, time in drawn.items())
    for variant in table.variants:
        experiment = variant_experiment(base, "small", variant, 1)
        assert experiment.data.train_labels == variant.labels
        folder = result_folder(tmp_path / "out", variant, 1)
        run_variant(experiment, folder, "test", accelerator="cpu")
    comparisons = collect(tmp_path / "out", table, (1,))
    assert "| full masks | 1 |" in to_markdown(table, comparisons, "potsdam")
    for names in (["few", "more", "full masks"], ["full masks"]):
        some = table.of(names)
        write_figure(some, collect(tmp_path / "out", some, (1,))[0], tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 5000
        (tmp_path / "figure.png").unlink()


@pytest.mark.parametrize("word", ["data.label_share=0.5", "loss.counted=dense"])
def test_a_budget_is_one(points, word):
    base, table = points
    with pytest.raises(InputError, match=rf"{word} would use other labels .* give {word[:9]}"):
        variant_experiment(override(base, [word]), "points", table.variants[0], 1)


def test_a_recipe_keeps_model_loss_and_labels():
    """Each row changes its own settings alone."""
    base = load_experiment(ROOT / "config/uuad/bicor.py", ["data.train_labels=corrected"])
    plain, *others = TABLES["recipe"].variants
    known = settings(variant_experiment(base, "recipe", plain, 1))
    of_run = {"seed": 1, "name": known["name"]}
    assert known == settings(base) | of_run
    for variant in others:
        found = settings(variant_experiment(base, "recipe", variant, 1))
        changed = {key for key, value in found.items() if value != known[key]} - {"name"}
        assert changed == {word.partition("=")[0] for word in variant.overrides}


def test_rows_without_a_teacher_have_none():
    """Also if the base has one."""
    words = ["teacher.weight=1.0", "data.unlabeled=train", "optim.ema=0.9"]
    base = load_experiment(ROOT / "config/uuad/bicor.py", words)
    for variant in TABLES["teacher"].variants:
        found = settings(variant_experiment(base, "teacher", variant, 1))
        has_one = variant.name.endswith("teacher")
        assert (found["teacher.weight"] > 0) == has_one
        assert found["data.unlabeled"] == ("train" if has_one else None)


def test_what_the_base_decides(points, tmp_path):
    """Of a table with the base's model and loss, another gamma makes another ablation."""
    base, table = points
    check_overrides(["loss.gamma=0", "model.encoder=resnet34"], table)
    # The row "from scratch" has no weights, the others have those of the base.
    check_overrides(["model.weights=encoder.pth"], TABLES["adaptation"])
    for word in ("loss.weights=none", "data.train_labels=x", "seed=2"):
        with pytest.raises(InputError, match=f"override '{word}'"):
            check_overrides([word], table)
    claim_folder(tmp_path / "out", "points", base, "test")
    other = load_experiment(POINTS_CONFIG, [*POINT_WORDS[:2], "loss.gamma=0.5"])
    with pytest.raises(InputError, match="holds another ablation"):
        claim_folder(tmp_path / "out", "points", other, "test")


def test_unfinished_runs_are_no_table(small, tmp_path):
    with pytest.raises(InputError, match=r"one_layer/seed1/scores.json: no such file"):
        collect(tmp_path / "out", small, (1,))


@pytest.mark.slow
def test_command(small, tmp_path):
    """Two runs at a time; a second call has nothing to do; a failed run names its log."""
    rows = ["--variants", "L = 1", "L = 2"]
    args = ["layers", "-c", str(CONFIG), "--seeds", "3", "--devices", "cpu", "cpu", *rows, *SMALL]
    out = succeed("tools/ablate.py", *args, "-o", "out", cwd=tmp_path)
    assert "2 of 2 runs to do" in out
    assert "| L = 2 | 1 |" in (tmp_path / "out/table.md").read_text()
    assert "| 85.37 |" in (tmp_path / "out/table.md").read_text()
    assert (tmp_path / "out/figure.png").is_file()
    out = succeed("tools/ablate.py", *args, "-o", "out", cwd=tmp_path)
    assert "0 of 2 runs to do" in out
    message = error_of("tools/ablate.py", *args, "--devices", "77", "-o", "new", cwd=tmp_path)
    assert "--devices 77" in message
    message = error_of("tools/ablate.py", *args, "-o", "out", "optim.epochs=2", cwd=tmp_path)
    assert "holds another ablation" in message
    shared = [word for word in args[1:] if word not in rows]
    lora = ["adaptation", *shared, "--variants", "whole", "LoRA, rank 8", "-o", "lora"]
    message = error_of("tools/ablate.py", *lora, cwd=tmp_path)
    assert "model.lora=8" in message
    assert not (tmp_path / "lora").exists()  # before any training
    words = ["recipe", *shared, "optim.ema=0.9", "--variants", "as in the config", "-o", "ema"]
    message = error_of("tools/ablate.py", *words, cwd=tmp_path)
    assert "override 'optim.ema=0.9': each variant sets this itself" in message
    assert not (tmp_path / "ema").exists()
    broken = next((tmp_path / "data/val").glob("masks*/val-0-0.png"))
    broken.write_bytes(broken.read_bytes()[:20])
    broken_run = [*args, "--devices", "cpu", "-o", "other", "data.crop=16"]
    failed = run("tools/ablate.py", *broken_run, cwd=tmp_path)
    assert failed.returncode == 2
    assert re.search(
        r"error: other/L_=_\d/seed3.log: the run .* failed: .*val-0-0.png", failed.stderr
    )
    assert not (tmp_path / "other/table.md").exists()


def test_scenes_have_ablations_too(tmp_path):
    """The message is that of the next check."""
    config = str(ROOT / "config/demo/scenes.py")
    words = ["recipe", "-c", config, "--devices", "77", "-o", "new"]
    message = error_of("tools/ablate.py", *words, cwd=tmp_path)
    assert "--devices 77" in message


def test_what_no_row_may_change_silently():
    """How the base adapts its encoder and weights the classes is kept, or it is refused."""
    words = ["model.encoder=test_vit", "model.weights=None", "model.lora=2", "model.dim=32"]
    words += ["model.out_indices=(0,1,2,3)", "loss.weights=sqrt_inverse", "loss.hard_share=0.5"]
    base = load_experiment(CONFIG, [*words, "model.drop_path=0"])
    rows = {variant.name: variant for variant in TABLES["methods"].variants}
    for name in ("BiCoR-Seg", "D2LS", "UNetFormer"):
        found = settings(variant_experiment(base, "methods", rows[name], 1))
        assert (found["model.lora"], found["model.out_indices"]) == (2, (0, 1, 2, 3))
        assert (found["loss.weights"], found["loss.hard_share"]) == ("sqrt_inverse", 0.5)
    with pytest.raises(InputError, match=r"model\..*: the row 'U-Net' has no such setting"):
        variant_experiment(base, "methods", rows["U-Net"], 1)
    # The config has stochastic depth, which the baselines of the library cannot have.
    published = load_experiment(CONFIG, words[:2])
    match = r"model\.drop_path=0\.5: the row 'U-Net' .*; give model\.drop_path=0\.0, or choose"
    with pytest.raises(InputError, match=match):
        variant_experiment(published, "methods", rows["U-Net"], 1)
    adapted = {variant.name: variant for variant in TABLES["adaptation"].variants}
    found = settings(variant_experiment(base, "adaptation", adapted["whole"], 1))
    assert (found["model.lora"], found["model.freeze"]) == (0, False)
    for word in ("model.freeze=True", "optim.layer_decay=0.5"):
        with pytest.raises(InputError, match="each variant sets this itself"):
            check_overrides([word], TABLES["adaptation"])
