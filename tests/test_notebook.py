"""What notebooks show by themselves, bars, and data as others hold them."""

import io
import json
import sys
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import triptych as tt
from triptych.core import DataError, ItemNoise, Labels, UsageError
from triptych.data.notebook import html_of, table_of

X = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = [i % 3 for i in range(30)]


def colored(i: int, side: int = 6) -> Image.Image:
    return Image.new("RGB", (side, side), (8 * i, 255 - 8 * i, 40))


def encoded(i: int) -> bytes:
    buffer = io.BytesIO()
    colored(i).save(buffer, "PNG")
    return buffer.getvalue()


class Plain(torch.utils.data.Dataset[Any]):
    """What a user of PyTorch has."""

    def __init__(self, *items: Any, classes: list[str] | None = None) -> None:
        self.items = items
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


def test_lists_of_pictures_are_data() -> None:
    data = tt.data([colored(i) for i in range(20)], split="all")
    assert (len(data), data.x, data.given, data.opened) == (20, tt.Images(3, 6, 6), None, None)
    assert sorted({int(x[0, 0, 0].mul(127.5).add(127.5).round()) for x in data}) == [8 * i for i in range(20)]
    pair = tt.data(([colored(i) for i in range(6)], [0, 1] * 3), split="all")
    assert pair.given == Labels(2, names=("0", "1"))
    sized = tt.data([colored(1, 5), colored(2, 9)], split="all", size=4)
    assert sized.x == tt.Images(3, 4, 4)
    with pytest.raises(DataError, match="2 items and 1 classes"):
        tt.data(([colored(0), colored(1)], [0]))


def test_a_torch_dataset_is_data_with_its_classes_by_name() -> None:
    data = tt.data(Plain(*((colored(i), i % 2) for i in range(8)), classes=["cat", "dog"]), split="all")
    assert data.given == Labels(2, names=("cat", "dog")) and len(data) == 8
    by_color = {int(x[0, 0, 0].mul(127.5).add(127.5).round()) // 8: y for x, y in data}
    assert by_color == {i: i % 2 for i in range(8)}
    arrays = tt.data(Plain(*((X[i], torch.tensor(Y[i])) for i in range(30))), split="all")
    assert arrays.x == tt.Images(1, 4, 4) and arrays.given == Labels(3)
    assert torch.allclose(arrays[3][0], X[3] * 2 - 1, atol=0.01)
    captioned = tt.data(Plain(*((colored(i), f"picture number {i}") for i in range(8))), split="all")
    assert sorted(captioned.captions or []) == [f"picture number {i}" for i in range(8)]
    with pytest.raises(DataError, match="rows have shapes"):
        tt.data(Plain(torch.rand(1, 4, 4), torch.rand(1, 5, 4)))
    with pytest.raises(DataError, match="x is a object"):
        tt.data(Plain(object()))


def test_dicts_name_what_they_hold() -> None:
    rows = [{"image": colored(i), "label": i % 2, "age": i} for i in range(8)]
    data = tt.data(rows, split="all")
    assert data.given == Labels(2, names=("0", "1")) and "age" in data.columns
    texts = tt.data([{"text": "some words here"}] * 40, split="train", length=8)
    assert texts.x.symbols is not None


def test_verbs_take_them_too() -> None:
    model = tt.create("vae", x=tt.Images(3, 6, 6), hidden=(4,), latent=1)
    assert tt.score(model, [colored(i) for i in range(5)]).n == 5


def test_tables_of_arrow_and_parquet_are_data(tmp_path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="tables are read by pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    files = [{"bytes": encoded(i), "path": "/etc/hostname"} for i in range(12)]
    noted = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pyarrow.table({"image": files, "label": [i % 2 for i in range(12)]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(noted)})
    assert tt.data(table, split="all").given == Labels(2, names=("cat", "dog"))
    parquet.write_table(table, tmp_path / "one.parquet")
    found = tt.data(tmp_path / "one.parquet", split="all")
    assert found.given == Labels(2, names=("cat", "dog")) and len(found) == 12 and found.x == tt.Images(3, 6, 6)
    assert found.opened is not None and found.opened["source"].endswith("one.parquet")
    (tmp_path / "hub").mkdir()
    for part in ("train-00000-of-00001", "test-00000-of-00001"):
        parquet.write_table(table, tmp_path / "hub" / f"{part}.parquet")
    assert len(tt.data(tmp_path / "hub")) == len(tt.data(tmp_path / "hub", split="test")) == 12
    outside = pyarrow.table({"image": [{"bytes": None, "path": "/etc/hostname"}, files[1]]})
    parquet.write_table(outside, tmp_path / "outside.parquet")
    assert len(tt.data(tmp_path / "outside.parquet", split="all")) == 1  # a file names no other file
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"bad\.parquet cannot be read as a table"):
        tt.data(tmp_path / "bad.parquet")


def test_a_table_without_pyarrow_is_one_line(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"pip install 'triptych\[tables\]'"):
        tt.data(tmp_path / "a.parquet")


def test_data_sets_show_themselves() -> None:
    shown = tt.data((X, np.array(Y)), split="all")._repr_html_()
    assert "array:all" in shown and "data:image/png;base64," in shown and "30" in shown
    assert "some words" in tt.data(["some words here"] * 40, split="all", length=16)._repr_html_()


def test_what_notebooks_show_is_no_markup_of_the_data() -> None:
    assert "<script" not in html_of("<script>", {"<script>": "<script>"}, text="<script>")
    assert "<script" not in table_of("<script>", ["<script>"], [["<script>"]], ["<script>"])


def test_results_and_models_have_short_names() -> None:
    model = tt.create("vae-tiny")
    data = create_data(model)
    score = tt.score(model, data)
    assert "lower bound" in repr(score) and "n = 30" in repr(score) and "per_item" not in repr(score)
    assert "nats" in score._repr_html_() and "per_item" not in score._repr_html_()
    likelihood = model.log_prob(data.fetch(torch.arange(4), ItemNoise(0, range(4))).x)
    assert repr(likelihood).startswith("<lower bound log p of 4: mean ")
    assert repr(model).startswith("<vae: ") and len(repr(model)) < 120
    assert "tensor(" not in repr(next(iter(tt.train(model, data, 1))))


def create_data(model: Any) -> Any:
    return tt.data(torch.rand(30, *model.config.x.shape) > 0.5, split="all")


def test_a_run_shows_its_losses_and_its_last_picture(tmp_path) -> None:
    model = tt.create("dcgan-tiny")
    data = tt.data(torch.rand(30, *model.config.x.shape), split="all")
    for _ in tt.train(model, data, tt.Run(steps=6, batch=8), out=tmp_path / "run", pictures=2):
        pass
    seen: Any = tt.show(tmp_path / "run")
    assert "dcgan on array:all, step 6, discriminator " in repr(seen)
    html = seen._repr_html_()
    assert "data:image/png;base64," in html and "<svg" in html and "6; 6 asked for" in html
    log = tmp_path / "run" / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 7, "seconds": 1, "<script>": 2}\n')
    assert "<script" not in tt.show(str(tmp_path / "run"))._repr_html_()  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="no folder of a run"):
        tt.show("photos")


def test_pictures_of_apply_have_a_short_name() -> None:
    from triptych.media.photo import Photo

    assert repr(Photo.of(torch.zeros(3, 4, 5))) == "<photo 4 x 5 (height x width), 3 channels, up to 255>"


def test_texts_are_shown_as_they_read() -> None:
    assert repr(tt.show(torch.tensor([[0, 1]]), tt.Tokens(2, 2))) == "0 1"


@pytest.mark.parametrize("installed", [True, False])
def test_progress_is_a_bar_or_lines(installed: bool, monkeypatch, capsys) -> None:
    if installed:
        pytest.importorskip("tqdm", reason="bars are tqdm's")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    model = tt.create("vae-tiny")
    steps = [now.step for now in tt.train(model, create_data(model), 12, progress=True)]
    assert steps == list(range(1, 13)) and "12/12" in capsys.readouterr().err


def test_everything_public_is_completed() -> None:
    assert set(tt.__all__) <= set(dir(tt))
    assert all(getattr(tt, name) is not None for name in tt.__all__)
