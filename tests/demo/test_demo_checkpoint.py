"""Resume: an interrupted demo ends like an uninterrupted one, and no damaged file passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from qlangevin.demo import checkpoint as checkpoint_module
from qlangevin.demo import train
from qlangevin.demo.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from qlangevin.demo.compare import compare_studies, describe_config
from qlangevin.demo.images import ImageData
from qlangevin.demo.loop import RunResult
from qlangevin.demo.runs import IMAGE_RUNS, TEXT_RUNS, Run, Settings
from qlangevin.demo.studies import Study
from qlangevin.demo.tasks import ImageTask, TextTask

from .conftest import make_study

TORCH_RUNS = IMAGE_RUNS[:2]
STEPS_PER_EPOCH = 2


class Stop(Exception):
    """What interrupts the demo in these tests."""


def list_bits(studies: Sequence[Sequence[RunResult]]) -> list[tuple[Any, ...]]:
    return [
        (result.name, result.seed, result.weights_digest, result.losses, result.scores, result.unmoved)
        for results in studies
        for result in results
    ]


def compare(task: ImageTask, settings: Settings, path: Path | None, runs: Sequence[Run] = TORCH_RUNS) -> list[list[RunResult]]:
    return compare_studies([make_study(task, settings, runs)], path)


def stop_after_steps(studies: Sequence[Study], limit: int) -> list[Study]:
    """Return the studies with optimizers that raise Stop, together, at step `limit`."""
    taken = [0]

    def interrupt(run: Run) -> Run:
        def make(weights: Any, settings: Settings) -> torch.optim.Optimizer:
            optimizer = run.make_optimizer(weights, settings)

            def count(*_: Any) -> None:
                if taken[0] == limit:
                    raise Stop
                taken[0] += 1

            optimizer.register_step_pre_hook(count)
            return optimizer

        return replace(run, make_optimizer=make)

    return [replace(study, runs=[interrupt(run) for run in study.runs]) for study in studies]


def check_resume(studies: Sequence[Study], path: Path) -> None:
    whole = compare_studies(studies, None)
    total = sum(settings.epochs * settings.batches for study in studies for _, settings in study.turns())
    for limit in range(0, total, 3):
        path.unlink(missing_ok=True)
        with pytest.raises(Stop):
            compare_studies(stop_after_steps(studies, limit), path)
        assert path.exists() == (limit >= STEPS_PER_EPOCH)
        # The steps up to the last whole epoch are not taken again.
        left = total - limit // STEPS_PER_EPOCH * STEPS_PER_EPOCH
        assert list_bits(compare_studies(stop_after_steps(studies, left), path)) == list_bits(whole)
    assert list_bits(compare_studies(stop_after_steps(studies, 0), path)) == list_bits(whole)


def test_resume_at_any_step_gives_the_same_bits(tiny_images: ImageTask, settings: Settings, tmp_path: Path) -> None:
    check_resume([make_study(tiny_images, settings, TORCH_RUNS)], tmp_path / "demo.pt")
    other = compare(tiny_images, replace(settings, seed=4), None)
    whole = compare(tiny_images, settings, None)
    assert other[0][0].weights_digest != whole[0][0].weights_digest


def test_resume_of_sgld_gives_the_same_bits(tiny_images: ImageTask, settings: Settings, tmp_path: Path) -> None:
    check_resume([make_study(tiny_images, settings, IMAGE_RUNS[2:4])], tmp_path / "demo.pt")


def test_resume_goes_from_images_to_text_and_from_seed_to_seed(
    tiny_images: ImageTask, tiny_text: TextTask, settings: Settings, tmp_path: Path
) -> None:
    images = make_study(tiny_images, replace(settings, epochs=1), IMAGE_RUNS[2:3])
    text = make_study(tiny_text, replace(settings, epochs=2, lr=1e-3), TEXT_RUNS[::2], seeds=2)
    check_resume([images, text], tmp_path / "demo.pt")
    (_, results) = compare_studies([images, text], None)
    assert [(result.name, result.seed) for result in results] == [(run.name, seed) for seed in (3, 4) for run in TEXT_RUNS[::2]]


@pytest.fixture
def saved(tiny_images: ImageTask, settings: Settings, tmp_path: Path) -> Path:
    path = tmp_path / "demo.pt"
    compare(tiny_images, replace(settings, epochs=1), path)
    return path


def test_damaged_checkpoint_is_a_named_error_and_stays(saved: Path, tiny_images: ImageTask, settings: Settings) -> None:
    sound = saved.read_bytes()
    cuts = [0, 1, 10, len(sound) // 3, len(sound) // 2, len(sound) - 30, len(sound) - 1]
    flips = [bytes([*sound[:at], sound[at] ^ 255, *sound[at + 1 :]]) for at in (len(sound) // 4, len(sound) // 2)]
    for damaged in [*(sound[:cut] for cut in cuts), *flips, b"some text\n" * 100]:
        saved.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"truncated or corrupt|is corrupt") as caught:
            compare(tiny_images, replace(settings, epochs=1), saved)
        assert str(saved) in str(caught.value)
        assert saved.read_bytes() == damaged


def test_a_flipped_bit_anywhere_never_becomes_another_position(saved: Path, tiny_images: ImageTask, settings: Settings) -> None:
    config = describe_config([make_study(tiny_images, replace(settings, epochs=1), TORCH_RUNS)])
    sound, bytes_ = load_checkpoint(saved, config), saved.read_bytes()
    for at in range(0, len(bytes_), len(bytes_) // 97):
        saved.write_bytes(bytes([*bytes_[:at], bytes_[at] ^ 16, *bytes_[at + 1 :]]))
        try:
            found = load_checkpoint(saved, config)
        except CheckpointError:
            continue
        # A flip in the padding between the records changes nothing.
        assert found.finished == sound.finished
        assert found.live is not None and sound.live is not None
        for name, weight in sound.live["weights"].items():
            assert torch.equal(found.live["weights"][name], weight)


@pytest.mark.parametrize("change", [{"epochs": 2}, {"seed": 9}, {"lr": 0.5}, {"batch_size": 8}])
def test_another_configuration_is_a_named_error_and_stays(
    saved: Path, tiny_images: ImageTask, settings: Settings, change: dict[str, Any]
) -> None:
    before, here = saved.read_bytes(), replace(settings, epochs=1)
    name, value = next(iter(change.items()))
    with pytest.raises(CheckpointError, match=f"{name} is {getattr(here, name)} there, {value} here"):
        compare(tiny_images, replace(here, **change), saved)
    assert saved.read_bytes() == before


def test_other_data_other_runs_or_other_tasks_are_named_errors(
    saved: Path, tiny_data: ImageData, tiny_images: ImageTask, tiny_text: TextTask, settings: Settings
) -> None:
    here = replace(settings, epochs=1)
    with pytest.raises(CheckpointError, match=r"runs is .* there"):
        compare(tiny_images, here, saved, TORCH_RUNS[:1])
    pixels = tiny_data.train_images.clone()
    pixels[0, 0, 0, 0] ^= 1
    with pytest.raises(CheckpointError, match=r"data_digest is .* there"):
        compare(ImageTask(replace(tiny_data, train_images=pixels)), here, saved)
    with pytest.raises(CheckpointError, match=r"another configuration: images is only there; text is only here$"):
        compare_studies([make_study(tiny_text, here, TEXT_RUNS)], saved)


def test_a_foreign_torch_file_is_a_named_error(tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    for content, cause in (
        ({"state_dict": {}}, "not a checkpoint of this demo"),
        ([1, 2], "not a checkpoint of this demo"),
        ({"format": 1, "config": {}, "finished": [], "live": None}, "format 1"),
        ({"format": 2, "config": 5, "finished": [], "live": None}, "no configuration"),
    ):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=cause):
            load_checkpoint(path, {})


def test_state_that_does_not_fit_its_run_is_a_named_error(saved: Path, tiny_images: ImageTask, settings: Settings) -> None:
    here = replace(settings, epochs=1)
    position = load_checkpoint(saved, describe_config([make_study(tiny_images, here, TORCH_RUNS)]))
    assert position.live is not None
    del position.live["model"]["head.weight"]
    save_checkpoint(saved, position)
    with pytest.raises(CheckpointError, match="does not fit its run"):
        compare(tiny_images, here, saved)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def fill_disk(_: Any, stream: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module.torch, "save", fill_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        save_checkpoint(saved, Checkpoint({}))
    assert saved.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [saved.name]


def test_the_error_is_reachable_from_train() -> None:
    assert train.CheckpointError is CheckpointError and issubclass(CheckpointError, ValueError)
