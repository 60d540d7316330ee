"""A run's folder as a notebook shows it: what is trained, how far it is, its losses and its last picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from triptych.core import UsageError
from triptych.data.notebook import html_of
from triptych.io import commit, folder
from triptych.report import charts
from triptych.verbs.decoration import metrics, shots


@dataclass(frozen=True, repr=False)
class RunView:
    """What is seen of a run; made anew, it shows how far the run has come since."""

    path: Path
    model: str
    data: str
    steps: int
    """Asked for, of each stage."""
    lines: list[dict[str, float]]
    """Of its log."""
    picture: Image.Image | None
    """Samples, the last that the run took."""

    @classmethod
    def of(cls, path: str | Path) -> "RunView":
        """Raises UsageError where there is no run."""
        if not commit.committed(Path(path)):
            raise UsageError(f"{path} is no folder of a run; data are shown by tt.show(tt.data({str(path)!r}))")
        about = folder.about(path)
        data, run = about.get("data"), about.get("run")
        name: Any = data.get("name", "") if isinstance(data, dict) else ""
        steps: Any = run.get("steps", 0) if isinstance(run, dict) else 0
        taken = shots(Path(path))
        return cls(Path(path), about["model"], str(name), int(steps), metrics(path), taken[-1][1] if taken else None)

    def losses(self) -> dict[str, float]:
        """The players' losses at the end of the log."""
        last = self.lines[-1] if self.lines else {}
        return {name: value for name, value in last.items() if "/" not in name and name not in ("step", "seconds")}

    def __repr__(self) -> str:
        said = "".join(f", {name} {value:.4g}" for name, value in self.losses().items())
        step = int(self.lines[-1]["step"]) if self.lines else 0
        return f"<run {self.path}: {self.model} on {self.data}, step {step:,}{said}>"

    def _repr_html_(self) -> str:
        last: dict[str, float] = self.lines[-1] if self.lines else {}
        facts: dict[str, object] = {
            "data": self.data,
            "step": f"{int(last.get('step', 0)):,}; {self.steps:,} asked for",
        }
        facts |= {"seconds": f"{last['seconds']:,.0f}"} if last else {}
        facts |= {name: f"{value:.4g}" for name, value in self.losses().items()}
        series = [
            charts.Series(name, [line["step"] for line in has], [line[name] for line in has])
            for name in self.losses()
            if len(has := [line for line in self.lines if name in line]) > 1
        ]
        drawn = charts.lines(charts.Chart(title="losses", series=series)) if series else ""
        shown = html_of(f"{self.path}: {self.model}", facts, self.picture)
        return f"{shown}<div style='max-width:{charts.WIDTH}px'>{drawn}</div>"
