"""Whether a model can be trained on, or score, a data set; and the data set as the model takes it: the condition that
it is given, with the classes that it knows by the numbers that it has for them."""

import logging
from typing import Any, TypeVar, get_args, get_type_hints

from triptych.core import Data, DataError, Labels, PartialLabels, Space, Tokens, UsageError
from triptych.core.classes import Classes, listed
from triptych.data.dataset import Dataset
from triptych.data.files import shown
from triptych.data.labeling import Numbering
from triptych.data.telling import told, unlike
from triptych.media import medium_of

log = logging.getLogger(__name__)

said = set[tuple[str, str]]()
"""What this process has said of sources: their parts are matched one after another."""

D = TypeVar("D", bound=Data)


def check_fits(data: Data, config: Any, *, training: bool = False) -> None:
    """Raises UsageError, in one sentence with what would help, unless `data` serves what a model is built for.

    `config.x` is the space of the model's x, and `config.given`, if there is such a field, that of its condition.
    A model without a condition fits labelled data: it does not look at the labels. One that bears unknown labels fits
    data whose labels are all known. Classes are matched as in `fitted`.
    """
    if data.x != config.x:
        hint = how_to_fit(data.x, config.x)
        raise UsageError(f"the model is built for {config.x} but {data.name} serves {data.x}; {hint}")
    matched(data, config, training)


def fitted(data: D, config: Any, *, training: bool = False) -> D:
    """The data with its condition as the model takes it; says how its classes were matched, unless that is plain.

    Of a source that has classes and captions, the one that the model is given. Classes are matched by their names: the
    data may have them in another order, and but for training it may lack some. Where the model or the data has no
    names, they are matched by number. Raises UsageError where the model cannot be given what the data has.
    """
    found, remark = matched(data, config, training)
    source = data.name.partition(":")[0]
    if remark and (source, remark) not in said:
        said.add((source, remark))
        log.warning("%s: %s", source, remark)
    return found


def matched(data: D, config: Any, training: bool) -> tuple[D, str]:
    """The data with its condition as the model takes it, and what to say of its classes, if anything."""
    needs: Space | None = getattr(config, "given", None)
    data = serving(data, (type(needs),))
    has = data.given
    if needs is None or (has is not None and has.serves(needs) and not isinstance(needs, Classes)):
        return data, ""
    bears = has is not None and (has.classed or needs.optional)
    if not isinstance(needs, Classes) or not isinstance(has, Classes) or not bears:
        same = has is not None and told([has]) == told([needs])
        raise UsageError(how_to_condition(needs, data) if same else unlike("the model", told([needs]), data))
    numbers, remark = match(data.name, has, needs, training)
    same = numbers == tuple(range(needs.classes))
    if same and has.names == needs.names:
        return data, remark
    if isinstance(data, Dataset):
        renumbered: Any = data.numbered(Numbering(Labels(needs.classes, names=needs.names), numbers))
        return renumbered, remark
    if not same:
        raise UsageError(f"{data.name} numbers its classes {listed(has.called)}; the model, {listed(needs.called)}")
    return data, remark


def match(name: str, has: Classes, needs: Classes, training: bool) -> tuple[tuple[int, ...], str]:
    """The model's number of each class of the data, and what to say of it. Raises UsageError if they do not match."""
    named = [space for space in (has, needs) if space.names]
    if len(named) == 1 and not all(word.isdecimal() for word in named[0].called):
        check_count(name, has, needs, training)
        who = "the model" if named[0] is has else "the data"
        calls = listed([f"{k} is {shown(word)}" for k, word in enumerate(named[0].called)])
        return tuple(range(has.classes)), f"{who} has no names for its classes: they are matched by number ({calls})"
    if not named:
        check_count(name, has, needs, training)
    unknown, numbers = list[str](), list[int]()
    for word in has.called:
        try:
            numbers.append(needs.named(word))
        except UsageError:
            unknown.append(shown(word))
    if unknown:
        raise UsageError(
            f"{name} has classes that the model does not know: {listed(unknown)}; it knows "
            f"{listed([shown(word) for word in needs.called])}"
        )
    if len(set(numbers)) < len(numbers):
        raise DataError(f"two classes of {name} are one to the model, as they differ by capitals alone: rename them")
    missing = [shown(word) for k, word in enumerate(needs.called) if k not in numbers]
    if missing and training:
        raise UsageError(f"{name} lacks classes that the model has: {listed(missing)}; train a model on what there is")
    changed = [f"{shown(word)} is {k}" for k, word in zip(numbers, has.called, strict=True)]
    if tuple(numbers) != tuple(range(len(numbers))):
        return tuple(numbers), f"its classes are numbered as the model has them: {listed(changed)}"
    return tuple(numbers), ""


def check_count(name: str, has: Classes, needs: Classes, training: bool) -> None:
    """Where classes have numbers only, there may be fewer, but in training."""
    if has.classes > needs.classes or (training and has.classes < needs.classes):
        raise UsageError(
            f"the model is conditioned on {needs} but {name} serves {has}; build the model with "
            f"given.classes={has.classes}"
        )


def serving(data: D, kinds: tuple[type, ...]) -> D:
    """The data with the condition that is of one of these kinds, if it has that, and nobody asked for another."""
    if not isinstance(data, Dataset) or data.condition or not (data.tokenizer and data.pack.meta.classes):
        return data
    wanted = "label" if set(kinds) & {Labels, PartialLabels} and Tokens not in kinds else "caption"
    chosen: Any = data.serving(wanted)
    return chosen


def taken(settings: type) -> tuple[type, ...]:
    """The kinds of condition that a model takes, by the `given` field of its configuration."""
    hint = get_type_hints(settings).get("given")
    return get_args(hint) or (hint,)


def how_to_fit(has: Space, wants: Space) -> str:
    """What to add to the data's options, or else to the model's config."""
    hint = medium_of(wants).how_to_fit(has, wants) if has.kind == wants.kind else None
    return hint or "build the model with x set to what the data serves"


def how_to_condition(needs: Space, data: Data) -> str:
    """Why data that have what the model is told cannot tell it that, and what would help."""
    has = data.given
    assert has is not None
    if needs.classed and has.optional:
        why = "its every label must be known: open it without labels=, and leave out what has no label"
    else:
        why = "build the model with given set to what the data serves"
    return f"the model is conditioned on {needs} but {data.name} serves {has}; {why}"
