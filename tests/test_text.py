"""Text as data: what tokens stand for, windows, what is held out, and what cannot be read."""

import json
import math
import random
import sys
import tracemalloc
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import triptych as tt
from triptych.cli import main
from triptych.core import BytePairs, Characters, DataError, ItemNoise, StepNoise, Tokens, UsageError, prefix
from triptych.core.text import WORD, joined
from triptych.data import Dataset, check_fits, fast_pairs
from triptych.data.corpus import fit_pairs
from triptych.io import configs
from triptych.verbs.score import score

ODD = "naïve café — 東京, 🙂\t x\n\n  end"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))


def story(n: int = 3000) -> str:
    words, drawn = "the king said unto his servant go up and see what is in the land".split(), random.Random(0)
    return "".join(drawn.choice(words) + drawn.choice("   .\n") for _ in range(n // 5))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "story.txt"
    path.write_text(story())
    return path


def served(data: Dataset, *rows: int) -> list[str]:
    x = data.fetch(torch.tensor(rows), ItemNoise(0, rows)).x
    assert isinstance(data.x, Tokens)
    return [data.x.decode(row) for row in x]


# Symbols


def test_characters() -> None:
    symbols = Characters(alphabet="".join(sorted(set(ODD))))
    tokens = symbols.encode(ODD)
    assert tokens.dtype == torch.int64 and len(tokens) == len(ODD) and symbols.decode(tokens.tolist()) == ODD
    assert tokens.max() == len(symbols) - 1 and symbols.characters.tolist() == [1] * len(symbols)
    assert symbols.encode("").shape == (0,)


@pytest.mark.parametrize("most", [0, 1, 40])
def test_any_text_goes_through_byte_pairs(most: int) -> None:
    symbols = fit_pairs([story()], most)
    assert len(symbols) == 256 + most
    for text in (ODD, story(200), "", " ", "\udcff"):
        tokens = symbols.encode(text)
        if "\udcff" not in text:  # a byte of a command line that was no UTF-8
            assert symbols.decode(tokens.tolist()) == text
            assert symbols.characters[tokens].sum() == len(text)
    assert symbols.encode("\udcff").tolist() == [255] and symbols.decode([255]) == "\ufffd"


def test_pairs_are_joined_in_the_order_of_their_frequency() -> None:
    symbols = fit_pairs(["ab ab ab ab abc abc"], 3)
    a, b, c, space = b"abc "
    assert symbols.merges == ((a, b), (space, 256), (257, c))
    assert symbols.encode("ab abc abd").tolist() == [256, 258, 257, ord("d")]
    assert symbols.pieces[256:] == [b"ab", b" ab", b" abc"]
    assert fit_pairs(["xyz"], 9).merges == ()  # nothing comes twice


def test_the_trainer_equals_counting_everything_anew() -> None:
    text, words, merges = story(), [], []
    words = [list(word.encode()) for word in WORD.findall(text)]
    for token in range(256, 286):
        counts: dict[tuple[int, int], int] = {}
        for word in words:
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = [joined(word, best, token) for word in words]
        merges.append(best)
    symbols = fit_pairs([text], 30)
    assert symbols.merges == tuple(merges)
    assert symbols.encode(text).tolist() == [token for word in words for token in word]


def test_the_library_learns_the_same_pairs() -> None:
    pytest.importorskip("tokenizers")
    texts = [[story()], [ODD * 3, story()], ["aaaa aaa|aa ||"], [""], ["ab" * 3000]]
    for pieces in texts:
        for most in (7, 60):
            assert fast_pairs.fit(pieces, most) == fit_pairs(pieces, most)


def test_without_the_library_large_vocabularies_say_so_once(monkeypatch, caplog) -> None:
    monkeypatch.setattr(fast_pairs, "installed", lambda: False)
    fast_pairs.tell(1024)
    assert not caplog.text
    fast_pairs.tell(8192)
    assert "8,192 byte pairs" in caplog.text and "pip install 'triptych[tokenizers]'" in caplog.text


def test_words_make_up_the_text() -> None:
    for text in (ODD, story(), " \n \n", "a  b", "x_1 ,.!"):
        assert "".join(WORD.findall(text)) == text


def test_symbols_are_a_part_of_the_space() -> None:
    ab, cd = (Tokens(2, 5, symbols=Characters(alphabet=letters)) for letters in ("ab", "cd"))
    assert ab != cd and ab != Tokens(2, 5) and ab == Tokens(2, 5, symbols=Characters(alphabet="ab"))
    for space in (ab, Tokens(257, 3, symbols=BytePairs(merges=((97, 98),))), Tokens(4, 2)):
        again = configs.from_json(Tokens, json.loads(json.dumps(configs.to_json(space))))
        assert again == space and type(again.symbols) is type(space.symbols)
    assert str(ab) == "Tokens(vocabulary=2, length=5)"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Characters(alphabet="ba"), "order of their code points"),
        (lambda: Characters(alphabet="aab"), "each once"),
        (lambda: Characters(alphabet=""), "one character or more"),
        (lambda: BytePairs(merges=((97, 256),)), "must join two of those before"),
        (lambda: BytePairs(merges=((97, 98), (97, 98))), "no pair comes twice"),
        (lambda: Tokens(3, 2, symbols=Characters(alphabet="ab")), "there are 2 symbols"),
        (lambda: Tokens(3, 2).encode("a"), "does not say what its tokens stand for"),
    ],
)
def test_symbols_that_make_no_sense(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_an_unknown_character_is_named_with_its_place() -> None:
    space = Tokens(3, 9, symbols=Characters(alphabet=" ab"))
    with pytest.raises(UsageError, match=r"no token for 'é' \(U\+00E9\), which is character 4 .* in 'ab éa'; .*bytes"):
        space.encode("ab éa")


def test_a_prefix_that_is_too_long() -> None:
    space = Tokens(2, 3, symbols=Characters(alphabet="ab"))
    assert prefix(space, space.encode("ab")[None]).tolist() == [[0, 1, -1]]
    with pytest.raises(UsageError, match=r"prefix of 4 values is longer than Tokens.*holds 3"):
        prefix(space, space.encode("abab")[None])


# Windows


def test_training_windows_start_at_every_token(file: Path) -> None:
    train, text = tt.data(file, length=20), story()
    end = len(text) - len(text) // 10
    assert train.name == "story:train" and len(train) == end - 19
    assert train.x == Tokens(len(set(text)), 20, symbols=Characters(alphabet="".join(sorted(set(text)))))
    assert served(train, 0, 7, len(train) - 1) == [text[:20], text[7:27], text[end - 20 : end]]
    batch = train.fetch(torch.arange(4), StepNoise(0, 4, slice(None)))
    assert batch.x.dtype == torch.int64 and batch.given is None
    train.x.check(batch.x)


def test_the_end_is_held_out_and_its_windows_do_not_overlap(file: Path) -> None:
    test, text = tt.data(f"{file}:test", length=20), story()
    rest = text[len(text) - len(text) // 10 :]
    assert len(test) == len(rest) // 20
    assert "".join(served(test, *range(len(test)))) == rest[: len(test) * 20]
    assert [test.x.decode(row) for row in test.stored] == served(test, *range(len(test)))
    assert served(test.subset(slice(2, 5)), 0, 2) == [rest[40:60], rest[80:100]]
    assert served(test.subset([3, 1]), 0, 1) == [rest[60:80], rest[20:40]]


def test_windows_with_context_overlap(file: Path) -> None:
    test, text = tt.data(f"{file}:test", length=20, stride=5), story()
    rest = text[len(text) - len(text) // 10 :]
    assert served(test, 0, 1) == [rest[:20], rest[5:25]] and len(test) == (len(rest) - 20) // 5 + 1


def test_a_long_text_is_served_in_as_many_windows_as_a_permutation_can_hold(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triptych.data.windows.MOST_WINDOWS", 500)
    train = tt.data(file, length=20)
    assert 400 < len(train) <= 500 and served(train, 1) == [story()[5:25]]


@pytest.mark.parametrize("tokens", ["characters", "bytes", 290])
def test_what_is_served_is_the_text(file: Path, tokens: str | int) -> None:
    train = tt.data(file, tokens=tokens, length=50)
    first = served(train, 0)[0]
    assert story().startswith(first) and len(first) >= 50
    assert train.pack.x.dtype.itemsize == (2 if tokens == 290 else 1)
    assert train.x.vocabulary == {"bytes": 256, 290: 290}.get(tokens, len(set(story())))


def test_pairs_are_learned_from_the_training_part_only(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ab " * 90 + "xyz" * 10)
    data = tt.data(tmp_path / "a.txt", tokens=300, length=2)
    assert b"xy" not in data.x.symbols.pieces and b"ab" in data.x.symbols.pieces


def test_fingerprints_tell_what_is_served(file: Path) -> None:
    opened = [
        tt.data(file, length=20),
        tt.data(file, length=21),
        tt.data(file, length=20, tokens="bytes"),
        tt.data(file, length=20, split="test"),
        tt.data(file, length=20, stride=20),
    ]
    assert len({data.fingerprint for data in opened}) == len(opened)
    assert tt.data(file, length=20).fingerprint == opened[0].fingerprint


def test_another_text_in_the_tokens_of_a_model(file: Path, tmp_path: Path) -> None:
    x = tt.data(file, length=20).x
    other = tmp_path / "other.txt"
    other.write_text("the servant is in the land\n" * 30)
    data = tt.data(other, tokens=x.symbols, length=20)
    assert data.x == x and served(data, 0) == ["the servant is in th"]
    other.write_text("the queen\n" * 30)
    with pytest.raises(DataError, match=r"other\.txt, train part: there is no token for 'q'"):
        tt.data(other, tokens=x.symbols)


def test_a_model_says_how_to_open_the_data(file: Path, tmp_path: Path) -> None:
    config = tt.create("gpt-tiny", x=tt.data(file, length=20).x).config
    with pytest.raises(UsageError, match="open the data with length=20"):
        check_fits(tt.data(file, length=10), config)
    with pytest.raises(UsageError, match=r"stand for other text: .* config\.x\.symbols"):
        check_fits(tt.data(file, tokens="bytes", length=20), config)


# Sources


def test_a_folder_of_texts(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    folder.mkdir()
    (folder / "b.txt").write_bytes(b"two\r\nlines")
    (folder / "a.txt").write_bytes(b"\xef\xbb\xbfone")
    (folder / "README.md").write_text("about")
    data = tt.data(folder, split="all", length=13)
    assert served(data, 0) == ["one\ntwo\nlines"] and not data.problems
    with zipfile.ZipFile(tmp_path / "books.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    assert served(tt.data(tmp_path / "books.zip", split="all", length=13), 0) == ["one\ntwo\nlines"]


@pytest.mark.parametrize(
    "names", [("train.txt", "valid.txt"), ("wiki.train.txt", "wiki.test.txt"), ("train/a.txt", "test/a.txt")]
)
def test_files_may_say_their_split(tmp_path: Path, names: tuple[str, str]) -> None:
    for name, text in zip(names, ("training text", "held out"), strict=True):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_text(text)
    assert served(tt.data(tmp_path / "set", length=13), 0) == ["training text"]
    assert served(tt.data(tmp_path / "set", length=8, split="test"), 0) == ["held out"]


def test_a_file_that_is_no_text_is_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    (folder / "good.txt").write_text(story())
    (folder / "bad.txt").write_bytes("café".encode("latin-1"))
    (folder / "empty.txt").write_bytes(b"")
    data = tt.data(folder, length=20)
    assert {p.file: p.reason.split(":")[0] for p in data.problems} == {
        "bad.txt": "not UTF-8 text",
        "empty.txt": "empty",
    }
    assert "byte 0xe9 at 3" in caplog.text
    with pytest.raises(DataError, match="strict"):
        tt.data(folder, length=20, strict=True)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-be", "utf-8-sig"])
def test_text_with_a_byte_order_mark_is_what_it_says(encoding: str, tmp_path: Path, caplog) -> None:
    mark = "\ufeff" if encoding.endswith("be") else ""
    (tmp_path / "a.txt").write_bytes((mark + "na\u00efve caf\u00e9\r\n\U0001f408" * 20).encode(encoding))
    data = tt.data(tmp_path / "a.txt", split="all", length=12)
    assert served(data, 0) == ["na\u00efve caf\u00e9\n\U0001f408"] and not data.problems
    assert ("UTF-16" in caplog.text) == ("16" in encoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_wide_text_without_a_mark_is_named(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("It was the best of times.".encode(encoding))
    name = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    with pytest.raises(DataError, match=f"{name} without a byte order mark.*iconv -f {name} -t UTF-8"):
        tt.data(tmp_path / "a.txt")


@pytest.mark.parametrize("tokens", ["characters", "bytes", 300])
@pytest.mark.parametrize("archive", [False, True])
def test_text_that_is_read_piece_by_piece_is_the_same(
    tokens, archive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = story().replace(" the ", "  the\r\n\r\n na\u00efve, caf\u00e9s' \U0001f408 ")
    for name in ("a.txt", "b.txt"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(text.encode())
    source = tmp_path / "in"
    if archive:
        source = tmp_path / "in.zip"
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as file:
            for path in (tmp_path / "in").iterdir():
                file.write(path, path.name)
    whole = tt.data(source, tokens=tokens, split="all", length=9, cache=tmp_path / "one")
    monkeypatch.setattr("triptych.data.files.PIECE", 7)
    pieces = tt.data(source, tokens=tokens, split="all", length=9, cache=tmp_path / "two")
    assert pieces.fingerprint == whole.fingerprint and len(whole) > 100


def test_a_byte_that_is_no_text_is_named_by_its_place_in_the_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("triptych.data.files.PIECE", 7)
    (tmp_path / "a.txt").write_bytes("na\u00efve \U0001f408 caf".encode() + b"\xe9 and so on")
    with pytest.raises(DataError, match="byte 0xe9 at 15"):
        tt.data(tmp_path / "a.txt")


def test_a_large_text_in_a_small_archive_takes_little_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"as it was in the beginning, so it is " * 400_000)
    tracemalloc.start()
    try:
        assert len(tt.data(tmp_path / "a.zip", length=8)) > 13_000_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6  # of 15 MB of text, which took over 200 MB as a whole


def test_sources_that_cannot_be_used(tmp_path: Path) -> None:
    for name, content, words in (
        ("none.txt", b"", "holds no text"),
        ("latin.txt", b"caf\xe9", "not UTF-8"),
        ("short.txt", b"short", 'tokens in split "train", fewer than a window of length=256: lower the length'),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=words):
            tt.data(tmp_path / name)
    (tmp_path / "mixed").mkdir()
    for name in ("train.txt", "test.txt", "more.txt"):
        (tmp_path / "mixed" / name).write_text("text")
    with pytest.raises(DataError, match="test, train beside text for no split"):
        tt.data(tmp_path / "mixed", length=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tokens": "words"}, r"tokens='words': it is .characters., .bytes., or the size"),
        ({"tokens": 256}, "257 to 65536"),
        ({"tokens": True}, "tokens=True"),
        ({"length": 0}, "length=0"),
        ({"length": 8, "stride": 9}, "stride=9: it is from 1 to length=8"),
        ({"stride": 0}, "stride=0"),
        ({"size": 8}, "are for images; this source holds text"),
        ({"channels": 1}, "are for images; this source holds text"),
        ({"binary": "fixed"}, "are for images; this source holds text"),
        ({"binary": "dynamic"}, "binary= is for images; story holds Tokens"),
    ],
)
def test_options_that_make_no_sense(file: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        tt.data(file, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("option", "words"), [("tokens", "tokens= is for text"), ("length", "are for text; ring-8")])
def test_options_of_text_are_refused_elsewhere(option: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        tt.data("ring-8", **{option: "bytes" if option == "tokens" else 5})  # type: ignore[arg-type]


def test_a_packed_text_is_a_source(file: Path, tmp_path: Path) -> None:
    tt.data.pack(file, tmp_path / "packed", tokens=300)  # type: ignore[attr-defined]
    packed, direct = tt.data(tmp_path / "packed", length=20), tt.data(file, tokens=300, length=20)
    assert packed.x == direct.x and torch.equal(packed.stored, direct.stored)
    again = tt.data(tmp_path / "packed", tokens="characters", length=20)
    assert again.x == tt.data(file, length=20).x and served(again, 5) == served(tt.data(file, length=20), 5)


# Scores


@pytest.mark.parametrize("tokens", ["characters", "bytes", 290])
def test_a_uniform_model_has_as_many_bits_a_character_as_it_takes(file: Path, tokens: str | int) -> None:
    file.write_text("naïve words, and more\n" * 150)
    test = tt.data(file, tokens=tokens, length=12, split="test")
    model = tt.create("gpt-tiny", x=test.x)
    torch.nn.init.zeros_(model.get_parameter("embedding.weight"))
    found = score(model, test)
    read = len("".join(served(test, *range(len(test)))))
    count = len(test) * 12
    assert found.bits_per_char == pytest.approx(count * math.log2(test.x.vocabulary) / read, rel=0.01)
    assert found.bits_per_dim == pytest.approx(math.log2(test.x.vocabulary))
    assert (found.kind, found.dims, found.n) == ("exact", 12, len(test))
    assert found.how == "chain rule, windows of 12 tokens, stride 12: each token given 0 to 11 before it"


@pytest.mark.parametrize("name", ["gpt-tiny", "lstm-tiny"])
def test_with_a_stride_each_token_is_scored_once_with_context(file: Path, name: str) -> None:
    test = tt.data(file, length=12, stride=4, split="test")
    model = tt.create(name, x=test.x).eval()
    found = score(model, test)
    x = test.fetch(torch.arange(len(test)), ItemNoise(0, range(len(test)))).x
    with torch.no_grad():
        each = model.logits(x).log_softmax(-1).gather(-1, x[..., None])[..., 0]  # type: ignore[operator]
    assert found.nats == pytest.approx(-each[:, 8:].sum(1).mean().item(), rel=1e-5)
    assert found.bits_per_char == pytest.approx(-each[:, 8:].mean().item() / math.log(2), rel=1e-5)
    assert found.dims == 4 and "stride 4: each token given 8 to 11 before it" in found.how
    whole = score(model, tt.data(file, length=12, split="test"))
    assert whole.dims == 12 and whole.bits_per_char != found.bits_per_char


# The command line


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """The exit code, and all that was said."""
    monkeypatch.setattr(sys, "argv", ["triptych", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    said = "".join(capsys.readouterr())
    assert "Traceback" not in said
    return int(end.value.code or 0), said


def test_from_a_text_to_samples(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def run(*words: object) -> str:
        code, said = command(monkeypatch, capsys, *words)
        assert code == 0, said
        return said

    about, _ = json.JSONDecoder().raw_decode(run("data", file, "--tokens", "290", "--length", 30, "--json"))
    assert about["x"] == "Tokens(vocabulary=290, length=30)"
    short = ["--length", 24, "--steps", 3, "--batch", 4, "width=8", "layers=1", "heads=2"]
    train = ["train", "gpt-char", "--data", file, "--out", tmp_path / "run", *short]
    run(*train)
    assert "finished" in run(*train, "--resume")
    assert "--length 24 --tokens characters" in (tmp_path / "run" / "README.md").read_text()
    kept = json.loads((tmp_path / "run" / "config.json").read_text())["config"]["x"]
    assert kept["symbols"] == {"alphabet": "".join(sorted(set(story())))}

    sample = ["sample", tmp_path / "run", "-n", 3, "--prefix", "the king", "--out"]
    run(*sample, tmp_path / "all.txt")
    parts = (tmp_path / "all.txt").read_text().split("--- ")
    assert parts[0] == "" and [part[:10] for part in parts[1:]] == [f"{i} ---\nthe " for i in range(3)]
    assert all(part[6:].startswith("the king") and len(part) == 6 + 24 + 1 for part in parts[1:])
    run(*sample, tmp_path / "each", "--top-k", 1)
    greedy = [path.read_text() for path in sorted((tmp_path / "each").glob("*.txt"))]
    assert len(greedy) == 3 and len(set(greedy)) == 1 and len(greedy[0]) == 25
    run(*sample, tmp_path / "page.png", "--temperature", "0.5", "--top-p", "0.9")
    assert (tmp_path / "page.png").stat().st_size > 1000

    said = run("score", tmp_path / "run", "--data", file)
    assert "bits/character" in said and "stride 24" in said
    scored = json.loads(run("score", tmp_path / "run", "--data", file, "--stride", 6, "--json"))
    assert 0 < scored["bits_per_char"] < 9 and "each token given 18 to 23" in scored["how"]

    for words, code, sentence in (
        (["--prefix", "the qüeen", "--out", "x.txt"], 2, "no token for 'q'"),
        (["--prefix", "the king said unto his servant", "--out", "x.txt"], 2, "holds 24"),
        (["--temperature", "-1", "--out", "x.txt"], 2, "temperature -1"),
        (["--top-p", "2", "--out", "x.txt"], 2, "top-p 2"),
        (["--top-k", "0", "--out", "x.txt"], 2, "top-k 0"),
        (["--out", "x.html"], 2, r".txt"),
    ):
        found, said = command(monkeypatch, capsys, "sample", tmp_path / "run", *words)
        assert found == code and sentence in said, said
    other = tmp_path / "other.txt"
    other.write_text("The Queen!\n" * 90)
    found, said = command(monkeypatch, capsys, "score", tmp_path / "run", "--data", other)
    assert found == 2 and "no token for 'T'" in said
    found, said = command(monkeypatch, capsys, "score", tmp_path / "run", "--data", "ring-8")
    assert found == 2 and "tokens= is for text" in said


def test_options_of_text_on_other_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for name, words, sentence in (
        ("dcgan", ["--temperature", "0.5", "--out", "x.png"], "is not autoregressive"),
        ("pixelcnn-tiny", ["--prefix", "a", "--out", "x.png"], "does not begin with text"),
        ("pixelcnn-tiny", ["--out", "x.txt"], "images are written as .png, .npz"),
    ):
        tt.save_pretrained(tt.create(name), tmp_path / name)
        code, said = command(monkeypatch, capsys, "sample", tmp_path / name, "-n", 2, *words)
        assert code == 2 and sentence in said, said
