"""The verbs. Each parses, calls the Python function of the same name and shows what it returned.

Verbs import what they need when they run: `triptych --help` and `triptych models` do not load torch.
"""

import typer

from triptych.cli import applying, looking, measuring, running, using

app = typer.Typer(
    name="triptych",
    help="Deep generative models under one vocabulary: train them, sample them, ask how likely a sample is.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

VERBS = (
    looking.models,
    looking.show,
    looking.data,
    running.train,
    running.sample,
    measuring.score,
    using.classify,
    using.anomaly,
    using.impute,
    using.compress,
    using.decompress,
    measuring.evaluate,
    measuring.compare,
    running.demo,
    looking.cite,
    looking.doctor,
)
"""In the order of --help."""

for verb in VERBS:
    app.command()(verb)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(applying.apply)
