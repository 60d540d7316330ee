"""Sound files to levels.

One clip is one item: it is cut off at its end where it is longer than the space, and served with silence after it where
it is shorter. Where its channels are not as many as are wanted, each is their mean. Rates are not converted: a clip of
another rate is a bad file, and so is one whose header promises more than there is.
"""

from collections import Counter
from collections.abc import Iterator

from triptych.core import Audio, DataError
from triptych.data.files import LARGEST_FILE, Problem, Tree, reason_of, shown
from triptych.data.folders import Item, Kind, arrange, described
from triptych.data.sink import Content, Sink
from triptych.media.audio import SUFFIXES, Clip, decode, fit, levels, pieces
from triptych.media.wav import BadClip

SOUNDS = Kind(
    name="sound",
    formats=("WAV", "FLAC", "OGG", "AIFF", "MP3"),
    suffixes=SUFFIXES,
)
UNEVEN = 8
"""So many times the median is a length that is worth a word."""


def read_sounds(tree: Tree, sink: Sink) -> Content:
    """Puts every clip of `tree` into `sink`, split by split; splits, classes and captions are those of images.

    The space is the one that was asked for (`sound=`). If none was, it has the rate that most clips have, as many
    channels as the clip with most (1 or 2), the length of the longest, and 65,536 evenly spaced levels.

    Raises DataError if there is no clip to be had.
    """
    found = arrange(tree, SOUNDS)
    items, problems = found.items, list[Problem]()
    x = sink.options.sound or space_of(tree, items)
    kept = list[Item]()
    for item, clip in load_all(tree, items):
        try:
            if isinstance(clip, BadClip):
                raise clip
            cut = put(clip, x, sink)
        except BadClip as e:
            problems.append(Problem(file=shown(item.file), reason=str(e)))
            continue
        if cut:
            problems.append(Problem(file=shown(item.file), reason=f"its last {cut:,} samples are cut off"))
        kept.append(item)
    lengths = sorted(length for _, length in sink.sizes)
    if lengths and lengths[-1] > UNEVEN * lengths[len(lengths) // 2] and sink.options.sound is None:
        found.notes.append(
            f"the longest of {len(lengths)} clips has {lengths[-1]:,} samples, half of them at most "
            f"{lengths[len(lengths) // 2]:,}; all are served as long as the longest, unless a model takes less (sound=)"
        )
    return described(tree, SOUNDS, found, kept, problems, x)


def put(clip: Clip, x: Audio, sink: Sink) -> int:
    """Appends a clip, brought to `x`; returns how many samples were cut off. Raises BadClip."""
    amplitude, cut = fit(clip, x)
    sink.append_sound((levels(part, x) for part in pieces(amplitude)), x)
    return cut


def space_of(tree: Tree, items: list[Item]) -> Audio:
    """The space that these clips fill without being changed. Raises DataError if none can be read."""
    rates, longest, most, first = Counter[int](), dict[int, int](), 1, ""
    for item, clip in load_all(tree, items):
        if isinstance(clip, BadClip):
            first = first or f"{shown(item.file)}: {clip}"
            continue
        channels, length = clip.amplitude.shape
        rates[clip.rate] += 1
        longest[clip.rate] = max(length, longest.get(clip.rate, 0))
        most = max(most, min(channels, 2))
    if not rates:
        raise DataError(f"{tree.name}: none of {len(items)} sound files can be read; the first: {first}")
    rate = rates.most_common(1)[0][0]
    return Audio(most, longest[rate], rate=rate)


def load_all(tree: Tree, items: list[Item]) -> Iterator[tuple[Item, Clip | BadClip]]:
    """Each item with its clip, or with what is wrong with it."""
    for item in items:
        try:
            if tree.files[item.file] > LARGEST_FILE:
                raise BadClip(f"{tree.files[item.file]:,} bytes; at most {LARGEST_FILE:,} are read")
            yield item, decode(tree.read(item.file))
        except OSError as e:
            yield item, BadClip(reason_of(e))
        except BadClip as e:
            yield item, e
