"""`triptych data get`: sets by name, brought from packages."""

from triptych.cli import output
from triptych.errors import UsageError


def get(name: str | None, others: list[str], as_json: bool) -> None:
    """Brings a set here, or lists what there is. Raises UsageError if an option was given that says how to open one."""
    from triptych.verbs.get import about, get_data, listing

    if others:
        raise UsageError(f"`triptych data get` takes a name only; {', '.join(others)} come when the data are opened")
    if name is None:
        sets = listing()
        if as_json:
            output.dump(sets)
            return
        rows = [
            [s["name"], f"{s['download'] / 1e6:.0f} MB", "yes" if s["folder"] else "no", s["licence"], s["about"]]
            for s in sets
        ]
        output.table("Data by name", ["name", "download", "here", "licence", "what"], rows)
        return
    fetched = get_data(name, tell=output.note)
    known = about(fetched.recipe, fetched.folder)
    if as_json:
        output.dump(known)
        return
    output.say(f"{known['name']}: {known['about']}")
    output.say(f"items: {', '.join(f'{n:,} {split}' for split, n in known['items'].items())}")
    output.say(f"licence: {known['licence']}")
    output.say(f"credit: {known['credit']}")
    output.say(f"folder: {known['folder']}")
    for line in known["next"]:
        output.say(f"next: {line}")
