"""Text beyond .txt: lines of JSON; what each token costs; bits a byte beside those of compressors."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import triptych as tt
from triptych.cli.app import app
from triptych.core import DataError, ItemNoise, UsageError
from triptych.metrics.compressors import bits_per_byte
from triptych.models.autoregressive.gpt import GPT, GPTConfig
from triptych.verbs.evaluate import evaluate
from triptych.verbs.per_token import per_token
from triptych.verbs.score import score

LINE = "In the beginning was a short text.\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))


def lines(path: Path, rows: list[object]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_lines_of_json_are_a_text(tmp_path: Path, caplog) -> None:
    rows: list[object] = [{"text": "one\ntwo", "id": 1}, {"id": 2}, "", {"content": "three"}, "{no", {"text": 4}, [5]]
    data = tt.data(lines(tmp_path / "some.jsonl", rows), split="all", length=13)
    assert first(data) == "one\ntwo\nthree"
    assert [str(p).split(":")[1].split()[0] for p in data.problems] == ["2", "5", "6", "7"]
    assert "text or content" in str(data.problems[0]) and "not JSON" in str(data.problems[1])
    with pytest.raises(DataError, match="holds no text"):
        tt.data(lines(tmp_path / "none.jsonl", [{"id": 1}]))


def test_a_folder_of_both(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.txt").write_text("abc")
    lines(tmp_path / "texts" / "test.jsonl", [{"text": "de"}, {"text": "f"}])
    data = tt.data(tmp_path / "texts", split="test", length=4)
    assert first(data) == "de\nf"


def first(data: Any) -> str:
    text: str = data.x.symbols.decode(data.fetch(torch.tensor([0]), ItemNoise(0, [0])).x[0].tolist())
    return text


def text_and_model(tmp_path: Path, **options: object):
    file = tmp_path / "text.txt"
    file.write_text("".join(f"{i} {LINE}" for i in range(200)))
    data = tt.data(file, split="test", length=16, **options)
    torch.manual_seed(0)
    model = GPT(GPTConfig(x=data.x, width=8, layers=1, heads=2)).eval()
    torch.nn.init.constant_(model.transformer.norm.weight, 2.0)
    return file, data, model


@pytest.mark.parametrize("options", [{}, {"stride": 5}, {"tokens": 260}], ids=str)
def test_what_tokens_cost_adds_up_to_the_score(tmp_path: Path, options) -> None:
    _, data, model = text_and_model(tmp_path, **options)
    found, total = list(per_token(model, data, batch=7)), score(model, data)
    assert sum(one.nats for one in found) == pytest.approx(total.nats * total.n, rel=1e-5)
    assert len(found) == total.n * total.dims
    if not options:
        assert "".join(one.text for one in found[:16]) == data.x.symbols.decode(
            data.fetch(torch.tensor([0]), ItemNoise(0, [0])).x[0].tolist()
        )
    few = list(per_token(model, data, limit=2))
    assert sorted({one.item for one in few}) == [0, len(data) // 2]


def test_tokens_are_written_from_the_command_line(tmp_path: Path) -> None:
    file, _, model = text_and_model(tmp_path)
    tt.save_pretrained(model, tmp_path / "run")
    out = tmp_path / "t.csv"
    words = ["score", str(tmp_path / "run"), "--data", str(file), "--limit", "3", "--per-token", str(out)]
    assert app(words, standalone_mode=False) in (0, None)
    rows = list(csv.DictReader(out.read_text().splitlines(keepends=True)))
    assert len(rows) == 48 and list(rows[0]) == ["item", "place", "token", "text", "nats", "bits"]
    assert float(rows[5]["bits"]) == pytest.approx(float(rows[5]["nats"]) / 0.693147, rel=1e-3)


def test_only_text_is_told_token_by_token() -> None:
    with pytest.raises(UsageError, match="does not give text token by token"):
        next(per_token(tt.create("made-tiny"), tt.data("mnist-binary", split="test")))


def test_compressors_of_a_text() -> None:
    text = LINE.encode() * 30
    found = bits_per_byte(text, b"something else. " + text)
    assert found["gzip"] == 8 * len(gzip.compress(text, 9)) / len(text)
    assert found["xz after the training text"] < found["xz"] < 8
    assert set(bits_per_byte(text)) == {"gzip", "xz"}


def test_bits_a_byte_stand_beside_them(tmp_path: Path) -> None:
    file, test, model = text_and_model(tmp_path)
    found = evaluate(model, tt.data(file, length=16), test, n=100)
    assert found.n == len(found.images) == 64 and "no measure is of samples" in found.notes()[0]
    (one,), (total,) = found.found["text"], found.scores
    assert one.value == pytest.approx(total.bits_per_char)  # of ASCII
    held = "".join(f"{i} {LINE}" for i in range(200)).encode()[-len(test) * 16 :]
    assert set(one.baselines) == {"gzip", "xz", "xz after the training text"}
    assert one.baselines["gzip"] == pytest.approx(8 * len(gzip.compress(held, 9)) / len(held), rel=0.03)
    assert any(row[0].startswith("bits/byte") for row in found.rows())
