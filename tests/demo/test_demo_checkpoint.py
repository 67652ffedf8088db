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
from qlangevin.demo.data import ImageData
from qlangevin.demo.loop import RunResult
from qlangevin.demo.runs import RUNS, Run, Settings
from qlangevin.demo.train import compare_runs, describe_config

TORCH_RUNS = RUNS[:2]
STEPS_PER_EPOCH = 2


class Stop(Exception):
    """What interrupts the demo in these tests."""


def list_bits(results: Sequence[RunResult]) -> list[tuple[Any, ...]]:
    return [(result.name, result.weights_digest, result.losses, result.accuracies) for result in results]


def stop_after_steps(monkeypatch: pytest.MonkeyPatch, runs: Sequence[Run], limit: int) -> list[Run]:
    """Return the runs with optimizers that raise Stop, together, at step `limit`."""
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

    return [interrupt(run) for run in runs]


def check_resume(runs: Sequence[Run], data: ImageData, settings: Settings, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compare_runs(runs, data, settings, None)
    total = STEPS_PER_EPOCH * settings.epochs * len(runs)
    for limit in range(0, total, 3):
        path.unlink(missing_ok=True)
        with pytest.raises(Stop):
            compare_runs(stop_after_steps(monkeypatch, runs, limit), data, settings, path)
        assert path.exists() == (limit >= STEPS_PER_EPOCH)
        # The steps up to the last whole epoch are not taken again.
        left = total - limit // STEPS_PER_EPOCH * STEPS_PER_EPOCH
        resumed = compare_runs(stop_after_steps(monkeypatch, runs, left), data, settings, path)
        assert list_bits(resumed) == list_bits(whole)
    again = compare_runs(stop_after_steps(monkeypatch, runs, 0), data, settings, path)
    assert list_bits(again) == list_bits(whole)


def test_resume_at_any_step_gives_the_same_bits(
    tiny_data: ImageData, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_resume(TORCH_RUNS, tiny_data, settings, tmp_path / "demo.pt", monkeypatch)
    other = compare_runs(TORCH_RUNS, tiny_data, replace(settings, seed=4), None)
    whole = compare_runs(TORCH_RUNS, tiny_data, settings, None)
    assert other[0].weights_digest != whole[0].weights_digest


def test_resume_of_sgld_gives_the_same_bits(
    tiny_data: ImageData, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_resume(RUNS[2:4], tiny_data, settings, tmp_path / "demo.pt", monkeypatch)


@pytest.fixture
def saved(tiny_data: ImageData, settings: Settings, tmp_path: Path) -> Path:
    path = tmp_path / "demo.pt"
    compare_runs(TORCH_RUNS, tiny_data, replace(settings, epochs=1), path)
    return path


def test_damaged_checkpoint_is_a_named_error_and_stays(saved: Path, tiny_data: ImageData, settings: Settings) -> None:
    sound = saved.read_bytes()
    cuts = [0, 1, 10, len(sound) // 3, len(sound) // 2, len(sound) - 30, len(sound) - 1]
    flips = [bytes([*sound[:at], sound[at] ^ 255, *sound[at + 1 :]]) for at in (len(sound) // 4, len(sound) // 2)]
    for damaged in [*(sound[:cut] for cut in cuts), *flips, b"some text\n" * 100]:
        saved.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"truncated or corrupt|is corrupt") as caught:
            compare_runs(TORCH_RUNS, tiny_data, replace(settings, epochs=1), saved)
        assert str(saved) in str(caught.value)
        assert saved.read_bytes() == damaged


def test_a_flipped_bit_anywhere_never_becomes_another_position(saved: Path, tiny_data: ImageData, settings: Settings) -> None:
    config = describe_config(TORCH_RUNS, tiny_data, replace(settings, epochs=1))
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
    saved: Path, tiny_data: ImageData, settings: Settings, change: dict[str, Any]
) -> None:
    before, here = saved.read_bytes(), replace(settings, epochs=1)
    name, value = next(iter(change.items()))
    with pytest.raises(CheckpointError, match=f"{name} is {getattr(here, name)} there, {value} here"):
        compare_runs(TORCH_RUNS, tiny_data, replace(here, **change), saved)
    assert saved.read_bytes() == before


def test_other_data_or_other_runs_are_named_errors(saved: Path, tiny_data: ImageData, settings: Settings) -> None:
    here = replace(settings, epochs=1)
    with pytest.raises(CheckpointError, match=r"runs is .* there"):
        compare_runs(TORCH_RUNS[:1], tiny_data, here, saved)
    pixels = tiny_data.train_images.clone()
    pixels[0, 0, 0, 0] ^= 1
    with pytest.raises(CheckpointError, match=r"data_digest is .* there"):
        compare_runs(TORCH_RUNS, replace(tiny_data, train_images=pixels), here, saved)


def test_a_foreign_torch_file_is_a_named_error(tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    for content, cause in (
        ({"state_dict": {}}, "not a checkpoint of this demo"),
        ([1, 2], "not a checkpoint of this demo"),
        ({"format": 2, "config": {}, "finished": [], "live": None}, "format 2"),
        ({"format": 1, "config": 5, "finished": [], "live": None}, "no configuration"),
    ):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=cause):
            load_checkpoint(path, {})


def test_state_that_does_not_fit_its_run_is_a_named_error(saved: Path, tiny_data: ImageData, settings: Settings) -> None:
    here = replace(settings, epochs=1)
    position = load_checkpoint(saved, describe_config(TORCH_RUNS, tiny_data, here))
    assert position.live is not None
    del position.live["model"]["head.weight"]
    save_checkpoint(saved, position)
    with pytest.raises(CheckpointError, match="does not fit its run"):
        compare_runs(TORCH_RUNS, tiny_data, here, saved)


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
