"""Whether a model can be trained on, or score, a data set."""

from typing import Any

from triptych.core import Audio, Data, Images, Labels, PartialLabels, Space, Tokens, UsageError


def check_fits(data: Data, config: Any) -> None:
    """Raises UsageError, in one sentence with what would help, unless `data` serves what a model is built for.

    `config.x` is the space of the model's x, and `config.given`, if there is such a field, that of its condition.
    A model without a condition fits labelled data: it does not look at the labels. One that bears unknown labels fits
    data whose labels are all known.
    """
    if data.x != config.x:
        hint = how_to_fit(data.x, config.x)
        raise UsageError(f"the model is built for {config.x} but {data.name} serves {data.x}; {hint}")
    needs = getattr(config, "given", None)
    known = isinstance(needs, PartialLabels) and data.given == Labels(needs.classes)
    if needs is not None and data.given != needs and not known:
        serves = f"serves {data.given}" if data.given else "has neither labels nor captions"
        raise UsageError(
            f"the model is conditioned on {needs} but {data.name} {serves}; {how_to_condition(needs, data)}"
        )


def how_to_fit(has: Space, wants: Space) -> str:
    """What to add to the data's options, or else to the model's config."""
    if isinstance(has, Tokens) and isinstance(wants, Tokens):
        if has.symbols != wants.symbols and has.symbols is not None and wants.symbols is not None:
            return "their tokens stand for other text: open the data with tokens= the model's own, config.x.symbols"
        if has.length != wants.length and (has.vocabulary, has.symbols) == (wants.vocabulary, wants.symbols):
            return f"open the data with length={wants.length}"
    if isinstance(has, Images) and isinstance(wants, Images) and wants.channels in (1, 3):
        options = []
        if has.channels != wants.channels:
            options.append(f"channels={wants.channels}")
        if (has.height, has.width) != (wants.height, wants.width):
            square = wants.height == wants.width
            options.append(f"size={wants.height}" if square else f"size=({wants.height}, {wants.width})")
        if has.levels == wants.levels or (has.levels == 256 and wants.levels == 2 and wants.channels == 1):
            if has.levels != wants.levels:
                options.append('binary="dynamic"')
            return f"open the data with {' '.join(options)}"
        if has.levels == 2 and wants.levels == 256:
            return "open the data without binary=, or build the model with x set to what the data serves"
    if isinstance(has, Audio) and isinstance(wants, Audio) and has.rate == wants.rate:
        return f"open the data with sound={wants}"
    return "build the model with x set to what the data serves"


def how_to_condition(needs: Space, data: Data) -> str:
    if isinstance(needs, Labels) and isinstance(data.given, PartialLabels):
        return "open the data without labels=, so that every label is known"
    if isinstance(needs, Labels | PartialLabels):
        if isinstance(data.given, Labels | PartialLabels):
            return f"build the model with classes={data.given.classes}"
        return "labels come from class sub-folders, from a label column of metadata.csv, or from y in a .npz"
    if isinstance(needs, Tokens):
        if isinstance(data.given, Tokens):
            return "build the model with given set to what the data serves"
        return "captions come from a text column of metadata.csv or metadata.jsonl"
    return "build the model with given set to what the data serves"
