"""What a recognizer hears in a voice of codes, plain, guided and chosen: `python tools/hear_texts.py RUN`.

Held-out texts of the run's own data are said once each. The recognizer is that of `triptych evaluate`, trained apart:
of letters, and it knows no words; beside what it writes stands what is read if each word is taken for the nearest one
that training texts have. Beside the samples stand the recordings, and what comes back of their codes.
"""

import argparse

import torch
from torch import Tensor

import triptych as tt
from triptych.core import Coding, ItemNoise, Sampling, Text, evaluating
from triptych.metrics.recognizer import edits, error_rate, plain
from triptych.nn.mel import MelSpectrogram
from triptych.tasks.listening import listener, through
from triptych.tasks.speaking import ended
from triptych.verbs.opening import open_for

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("-n", type=int, default=200, help="held-out texts, evenly spaced")
    parser.add_argument("--guidance", default="1,2,3")
    parser.add_argument("--best-of", default="1,4", help="at each guidance")
    parser.add_argument("--temperature", default="1")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    pipe = tt.pipeline("text-to-speech", asked.run)
    model, test = pipe.model, open_for(pipe.model, asked.run, None, split="test").data
    assert isinstance(model, Coding), f"{model.name} has no codes"
    mel = pipe.task.mel  # type: ignore[attr-defined]
    ear, front = listener(test.training_part(), mel), MelSpectrogram(mel)
    rows = torch.arange(min(asked.n, len(test))) * len(test) // min(asked.n, len(test))
    batches = [test.fetch(rows[k : k + 1], ItemNoise(0, [int(rows[k])])) for k in range(len(rows))]
    said, tokens = [plain(test.texts[k]) for k in rows.tolist()], torch.cat([b.given.tokens for b in batches])
    rate, known = model.config.x.rate, sorted({w for t in test.training_part().texts for w in plain(t).split()})

    def heard(name: str, sounds: list[Tensor]) -> None:
        texts = [ear(front(sound[None])[0]) for sound in sounds]
        taken = [" ".join(min(known, key=lambda one: edits(one, word)) for word in text.split()) for text in texts]
        print(f"{name}: {error_rate(texts, said):.3f} of letters misheard", flush=True)  # noqa: T201
        for how, some in (("as it is written", texts), ("of known words", taken)):
            words, wanted = ([text.split() for text in part] for part in (some, said))
            whole = sum(a == b for a, b in zip(some, said, strict=True)) / len(said)
            others = error_rate(words[1:] + words[:1], wanted)
            print(  # noqa: T201
                f"    {how}: {whole:.3f} of {len(said)} texts wholly right; misheard {error_rate(words, wanted):.3f} "
                f"of words ({others:.3f} of another text's)",
                flush=True,
            )

    print(ear.about)  # noqa: T201
    heard("recordings", [b.x[0, 0, : int(b.lengths[0])] for b in batches])
    heard("through codes", through(model, batches))
    with evaluating(model), torch.no_grad():
        code = torch.cat([model.encode(b.x) for b in batches])
        own, other = (
            model.log_prob_codes(code, Text(t)).bits_per_dim().mean().item() for t in (tokens, tokens.roll(1, 0))
        )
    print(f"bits a code: {own:.3f} by the own text, {other:.3f} by another's")  # noqa: T201
    for temperature in map(float, asked.temperature.split(",")):
        for guidance in map(float, asked.guidance.split(",")):
            for best_of in map(int, asked.best_of.split(",")):
                how = Sampling(guidance=guidance, best_of=best_of, temperature=temperature)
                parts = torch.arange(len(tokens)).split(50)
                x = torch.cat([model.sample(len(p), Text(tokens[p]), seed=0, first=int(p[0]), how=how) for p in parts])
                name = f"guidance {guidance:g}, the best of {best_of}, temperature {temperature:g}"
                heard(name, [one[0, : ended(one[0], rate)] for one in x.float()])
