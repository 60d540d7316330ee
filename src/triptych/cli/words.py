"""What is said on the command line is said in its words: `--size 32` where Python says size=32.

Errors and warnings are written once, in the words of Python, as those who call a function meet them. The names in them
that are options of the verb at work are replaced when they are shown here.
"""

import re
import sys
from functools import cache
from typing import Any

VALUE = r"""(?:'[^']*'|"[^"]*"|\([^()]*\)|\[[^\[\]]*\]|[^\s,;:()]+(?<!\.))"""
"""What may stand behind the sign of equality: a text in quotes, a tuple, a list, a number, a word."""
SPACE = re.compile(r"(\b[A-Z]\w*\([^()]*\))")
"""Images(channels=3, ...): the fields of a space are no options."""
ALSO = {"data": "--data", "anneal": "--ais"}
"""Names that Python has for what verbs call otherwise."""


def in_words(text: str, verb: str | None = None) -> str:
    """The text with options written as one types them to `verb`; None: the verb that is at work in this process."""
    names = options(verb or at_work(), frozenset(word.partition("=")[0] for word in sys.argv[1:]))
    if not names:
        return text
    known = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w.\-\]])({known})=({VALUE})?")
    *parts, last = SPACE.split(text)
    fields = re.compile(pattern.pattern.replace("=(", r"=(?!\Z)(", 1))  # x=Images(...) is a model's field
    parts[::2] = [fields.sub(lambda found: typed(names[found[1]], found[2]), part) for part in parts[::2]]
    return "".join([*parts, pattern.sub(lambda found: typed(names[found[1]], found[2]), last)])


def typed(option: str, value: str | None) -> str:
    """An option as it is typed: --size 32, --size 32x48, --overwrite."""
    if value is None or value == "True":
        return option
    if sides := re.fullmatch(r"\((\d+), (\d+)\)", value):
        value = f"{sides[1]}x{sides[2]}"
    elif value[0] in "'\"" and re.fullmatch(r"[\w.,+:/-]+", value[1:-1]):
        value = value[1:-1]
    return f"{option} {value}"


def at_work() -> str | None:
    """The verb that this process was started with."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    return words[0] if words and words[0] in commands() else None


@cache
def commands() -> dict[str, Any]:
    import typer

    from triptych.cli.app import app

    found: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return found


@cache
def options(verb: str | None, used: frozenset[str]) -> dict[str, str]:
    """What Python calls each option of a verb, and how it is typed: where it has two names, as it was by the person."""
    if verb is None:
        return {}
    params = [one for one in commands()[verb].params if one.opts and one.opts[0].startswith("-")]
    typed = {one.name: next((opt for opt in one.opts if opt in used), max(one.opts, key=len)) for one in params}
    by_option = {
        opt.removeprefix("--").replace("-", "_"): typed[one.name] for one in params for opt in one.opts if len(opt) > 2
    }
    also = {name: option for name, option in ALSO.items() if option in typed.values()}
    return {**typed, **by_option, **also, **(asked() if verb == "apply" else {})}


def asked() -> dict[str, str]:
    """What tasks are asked with, which are flags of `apply`."""
    from triptych import tasks
    from triptych.verbs.apply import flags_of

    names = {name for task in tasks.TASKS for name in flags_of(tasks.find(task))}
    return {name: f"--{name.replace('_', '-')}" for name in names}
