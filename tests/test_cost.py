"""What a run will cost, runs of so many minutes, and the choice of a model by what was measured."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import triptych as tt
from triptych import models
from triptych.cli.app import app
from triptych.core import Images, Labels, Points, Tokens, UsageError
from triptych.testing import Examples
from triptych.training import Run
from triptych.verbs.announce import costing
from triptych.verbs.choosing import OTHERS, TABLE, Fit, choose_for, fits, kind_of, usual_side
from triptych.verbs.cost import Cost, cost, spoken, within

CPU = torch.device("cpu")


class Held:
    name, split = "held", "train"

    def __init__(self, x: Any, given: Any = None) -> None:
        self.x, self.given = x, given

    def __len__(self) -> int:
        return 100


def small() -> tuple[Any, Any]:
    data = tt.data(torch.randint(0, 256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8))
    return tt.create("vae", x=data.x, latent=2, hidden=(4,)), data


def test_measuring_leaves_the_model_as_it_is() -> None:
    model, data = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = cost(model, data, Run(steps=500, batch=4))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.rounds == {"train": 500} and found.total == pytest.approx(500 * found.seconds["train"])
    assert found.bytes > 2**26 and "parameters" in str(found)


def test_stages_that_are_not_reached_are_taken_to_be_as_the_last() -> None:
    _, data = small()
    model = tt.create("vq-vae-tiny", x=data.x, prior_heads=2)
    assert set(cost(model, data, Run(steps=100, batch=4)).seconds) == {stage.name for stage in model.stages()}


def test_stages_of_several_lengths_are_each_measured() -> None:
    """The codec's first stage is `alone` times as long as those after it."""
    model = tt.create("codec-tiny", alone=2)
    found = cost(model, Examples(model.config.x, None), Run(steps=100, batch=4))
    assert found.rounds == {"auto-encoder": 200, "adversarial": 100, "codes": 100}
    assert len(set(found.seconds.values())) == 3


def test_minutes_become_a_number_of_steps() -> None:
    model, _ = small()
    found = Cost(10, {"train": 0.5}, {"train": 100}, 1, "cpu")
    assert within(found, model, Run(steps=100), minutes=2).steps == 240
    with pytest.raises(UsageError, match=r"a step takes 0\.5 s here"):
        within(found, model, Run(steps=100), minutes=0.001)


def test_short_runs_are_not_measured() -> None:
    model, data = small()
    assert costing(model, data, Run(steps=10, batch=4), None) == (Run(steps=10, batch=4), [])


def test_durations_are_said_as_people_say_them() -> None:
    assert [spoken(s) for s in (12, 300, 7800, 400_000)] == ["12 s", "5 min", "2 h 10 min", "5 days"]


def test_a_run_of_minutes_keeps_its_steps_when_it_goes_on(tmp_path: Path) -> None:
    words = ["train", "--data", "ring-8", "gan-25-gaussians", "--out", str(tmp_path / "a"), "--no-pictures"]
    first = CliRunner().invoke(app, [*words, "--minutes", "0.02", "--batch", "4"])
    assert first.exit_code == 0, first.output
    steps = json.loads((tmp_path / "a/config.json").read_text())["run"]["steps"]
    again = CliRunner().invoke(app, ["train", "--resume", "--out", str(tmp_path / "a"), "--minutes", "5"])
    assert again.exit_code == 0 and f"already finished at step {steps}" in again.output
    both = CliRunner().invoke(app, [*words[:-2], str(tmp_path / "b"), "--minutes", "1", "--steps", "4"])
    assert isinstance(both.exception, UsageError) and "leave one of them out" in str(both.exception)


@pytest.mark.parametrize(
    ("x", "given", "minutes", "preset"),
    [
        (Images(3, 32, 32), None, 10, "dcgan-small"),
        (Images(3, 32, 32), None, 60, "r3gan-hour"),
        (Images(3, 64, 64), None, 60, "dcgan-small"),  # where R3GAN was not better in an hour
        (Images(1, 28, 28), None, 5, "dcgan-small"),
        (Images(1, 28, 28), None, 10, "r3gan-small"),
        (Images(1, 28, 28), Labels(10), 10, "biggan-small"),
        (Images(1, 28, 28, levels=2), None, 10, "pixelcnn-small"),
        (Images(3, 32, 32), Labels(10), 1, "dcgan-small"),
        (Points(2), None, 10, "r3gan-25-gaussians"),
        (Tokens(65, 64), None, 60, "nanochat-bpe"),
    ],
)
def test_the_choice_follows_the_table(x: Any, given: Any, minutes: float, preset: str) -> None:
    assert choose_for(Held(x, given), minutes, CPU).preset == preset


def test_the_choice_says_what_more_time_would_bring_and_what_is_left_out() -> None:
    why = " ".join(choose_for(Held(Images(1, 28, 28)), 5, CPU).why)
    assert "r3gan-small wants 7 minutes" in why and "4 minutes of one core" in why
    assert "r3gan-hour wants 45 minutes" in " ".join(choose_for(Held(Images(3, 32, 32)), 10, CPU).why)
    assert "left out: biggan-small by class made of emoji" in " ".join(
        choose_for(Held(Images(3, 32, 32), Labels(3)), 1, CPU).why
    )
    assert "not measured" in choose_for(Held(Images(3, 32, 32)), 1, torch.device("cuda")).why[-1]
    assert (usual_side(CPU), usual_side(torch.device("cuda"))) == (32, 64)


def test_what_does_not_take_the_data_is_not_chosen() -> None:
    with pytest.raises(UsageError, match=r"takes these: DCGAN: x=Images\(.*100 x 100; near it"):
        choose_for(Held(Images(3, 100, 100)), 5, CPU)
    assert "the captions are left out" in " ".join(choose_for(Held(Images(3, 32, 32), Tokens(9, 8)), 5, CPU).why)


def test_a_run_without_a_name_gets_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("my arrays.npy", np.zeros((12, 100, 90, 3), np.uint8))
    words = ["train", "--data", "my arrays.npy", "--steps", "1", "--batch", "4", "--no-pictures", "width=2"]
    for _ in range(2):
        found = CliRunner().invoke(app, words)
        assert found.exit_code == 0, found.output
    assert sorted(f.name for f in Path("runs").iterdir()) == [f"my-arrays.npy-dcgan-small{n}" for n in ("", "-2")]
    assert "32" in found.output and "runs/my-arrays.npy-dcgan-small-2" in found.output
    lost = CliRunner().invoke(app, ["train", "--resume"])
    assert isinstance(lost.exception, UsageError) and "which run" in str(lost.exception)


def test_every_row_of_the_table_is_a_preset() -> None:
    for row in TABLE + OTHERS:
        assert models.find_preset(row.preset)[1] is not None


def test_what_fits_is_told_with_what_it_needs() -> None:
    color = Held(Images(3, 32, 32))
    found = fits(models.find("dcgan"), color)
    assert isinstance(found, Fit) and found.preset == "dcgan-small" and found.parameters == 909_095
    pixelcnn = fits(models.find("pixelcnn"), color)
    assert isinstance(pixelcnn, Fit) and not pixelcnn.measured  # what is said of pixelcnn-pp is not said of it
    assert "emoji" in found.measured and kind_of(color.x) == "color"
    assert "two levels" in str(fits(models.find("nade"), color))
    assert fits(models.find("gpt"), color) is None and "label" in str(fits(models.find("cgan"), color))


def test_a_folder_without_a_model_is_trained_on(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for k in range(12):
        Image.new("RGB", (40 + k, 36), (20 * k, 90, 200 - 9 * k)).save(tmp_path / f"photos/{k}.png")
    words = ["train", "--data", str(tmp_path / "photos"), "--size", "8", "--out", str(tmp_path / "run")]
    found = CliRunner().invoke(app, [*words, "--steps", "1", "--batch", "4", "--no-pictures", "width=2"])
    assert found.exit_code == 0, found.output
    about = json.loads((tmp_path / "run/config.json").read_text())
    assert about["model"] == "dcgan" and about["config"]["x"]["height"] == 8
    listed = CliRunner().invoke(app, ["models", "--for", str(tmp_path / "photos"), "--size", "8", "--json"])
    assert "dcgan" in [one["model"] for one in json.loads(listed.stdout)["fit"]]


def test_pictures_of_several_sizes_are_trained_on_at_the_size_that_was_chosen_for_the_time(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for k in range(12):
        Image.new("RGB", (70 + k, 66), (20 * k, 90, 200 - 9 * k)).save(tmp_path / f"photos/{k}.png")
    words = ["train", "--data", str(tmp_path / "photos"), "--out", str(tmp_path / "run"), "--steps", "1"]
    found = CliRunner().invoke(app, [*words, "--batch", "4", "--no-pictures", "width=2"])
    assert found.exit_code == 0, found.output
    x = json.loads((tmp_path / "run/config.json").read_text())["config"]["x"]
    assert (x["height"], x["width"]) == (32, 32)
    looked = CliRunner().invoke(app, ["data", str(tmp_path / "photos"), "--json"])
    assert looked.exit_code == 0 and "height=64" in json.loads(looked.stdout)["x"], looked.output
    packed = CliRunner().invoke(app, ["data", str(tmp_path / "photos"), "--pack", str(tmp_path / "packed")])
    assert packed.exit_code != 0 and "give size=" in str(packed.exception)
