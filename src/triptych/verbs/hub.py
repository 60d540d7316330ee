"""A run, or a saved model, put on the Hugging Face Hub, from where `from_pretrained("someone/digits")` gets it."""

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from triptych.core import UsageError
from triptych.io import commit, folder
from triptych.verbs.create import load, reaching
from triptych.verbs.shipped import located

ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
KEPT = ("format", "model", "config", "data", "run", "made_with", "task")
"""Of a run's config.json."""
BESIDE = ("classes.gpl", "classes.png")
PICTURE = re.compile(r"!\[[^\]]*\]\(([\w./-]+\.(?:png|gif))\)")
"""In a card."""


@dataclass(frozen=True)
class Pushed:
    """What is on the hub now, or would be."""

    to: str
    files: dict[str, int]
    """Names and sizes in bytes."""
    dry_run: bool


def push_to_hub(run: str | Path, to: str, *, private: bool = False, dry_run: bool = False) -> Pushed:
    """Puts configuration, weights and card of a run onto the Hugging Face Hub as `to` ("someone/digits").

    What only resuming needs stays here. The card is the run's README.md, with its picture. `dry_run` reads everything
    and says what would be sent, without a network or the `hub` extra.

    Raises UsageError for a name that is none of the hub's, or without the extra; TriptychError where the hub is not
    reached or refuses; what `load` raises of a folder.
    """
    if not ID.fullmatch(to):
        raise UsageError(f"{to} is no name on the hub: it is someone/digits")
    path = located(run)
    load(path)  # nothing is sent that cannot be read back
    files = content(path, to)
    found = Pushed(to, {name: len(data) for name, data in files.items()}, dry_run)
    if dry_run:
        return found
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise UsageError("the hub needs its extra: pip install 'triptych[hub]'; --dry-run does without") from None
    with reaching(to), tempfile.TemporaryDirectory() as draft:
        api = HfApi()
        api.create_repo(to, private=private, exist_ok=True)
        for name, data in files.items():
            target = Path(draft) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        api.upload_folder(repo_id=to, folder_path=draft, commit_message="Upload by Triptych")
    return found


def content(path: Path, to: str) -> dict[str, bytes]:
    """The files to send: a folder as `load` reads it, and what people look at."""
    about = {name: value for name, value in folder.about(path).items() if name in KEPT}
    weights = commit.read(path, [folder.WEIGHTS])[folder.WEIGHTS]
    own = {folder.CONFIG: (json.dumps(about, indent=2) + "\n").encode(), folder.WEIGHTS: weights}
    with tempfile.TemporaryDirectory() as draft:
        commit.commit(Path(draft), own)
        own[commit.MANIFEST] = (Path(draft) / commit.MANIFEST).read_bytes()
    card = path / "README.md"
    if card.exists():
        text = card.read_text(encoding="utf-8").replace(str(path), to)
        own["README.md"] = text.encode()
        for name in PICTURE.findall(text):
            if not Path(name).is_absolute() and ".." not in Path(name).parts and (path / name).is_file():
                own[name] = (path / name).read_bytes()
    return own | {name: (path / name).read_bytes() for name in BESIDE if (path / name).is_file()}
