"""The vocoder: HiFi-GAN's pieces, a voice of tones made audible by it, and spectrograms that are not the voice's."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import triptych as tt
from triptych.core import Audio, Images, ItemNoise, Picture, StepNoise, UsageError
from triptych.media.wav import encode_wav
from triptych.models.gan.hifi_gan import PRESETS, Fused, Generator, HiFiGAN, HiFiGANConfig
from triptych.models.vae.mas_tts import MASTTS, MASTTSConfig
from triptych.nn.mel import Mel, MelSpectrogram, differences, pictured, unpictured, usual
from triptych.tasks.task import posed
from triptych.tasks.text_to_speech import TextToSpeech
from triptych.tasks.vocoder import Vocoder, vocoder_of
from triptych.testing.toys import Examples
from triptych.training import Run, train

TINY: HiFiGANConfig = PRESETS["hifi-gan-tiny"].config
RATE = 8000


def test_a_spectrogram_is_a_picture_whatever_it_is_normalized_by() -> None:
    mel, x = Mel(rate=RATE, fft=64, hop=16, mels=8), 0.5 * torch.randn(2, 320)
    other = replace(mel, mean=-4.0, deviation=2.5)
    one, two = (pictured(m, MelSpectrogram(m)(x)) for m in (mel, other))
    torch.testing.assert_close(one, two)
    assert one.shape == (2, 1, 8, 20) and one.abs().max() <= 1
    torch.testing.assert_close(unpictured(other, two), MelSpectrogram(other)(x), atol=1e-4, rtol=1e-4)
    assert not differences(mel, other) and differences(mel, replace(mel, hop=8, high=3000.0)) == [
        "hop=16, not 8",
        "high=4000, not 3000",
    ]


def test_the_papers_first_version() -> None:
    """V1's generator has 13.92 M weights (Table 1); weight normalization adds a length to each of its rows."""
    with torch.device("meta"):
        net = Generator(PRESETS["hifi-gan-v1"].config)
    many = sum(p.numel() for name, p in net.named_parameters() if not name.endswith("original0"))
    assert many / 1e6 == pytest.approx(13.92, abs=0.02)


def test_receptive_fields_are_fused_by_their_mean() -> None:
    torch.manual_seed(0)
    net, h = Fused(4, (3, 5), ((1,), (3, 1))), torch.randn(2, 4, 20)
    torch.testing.assert_close(net(h), (net.blocks[0](h) + net.blocks[1](h)) / 2)
    one = net.blocks[1]
    first = h + one[0](h)
    torch.testing.assert_close(one(h), first + one[1](first))


@pytest.mark.parametrize("name", ["hifi-gan-tiny", "hifi-gan-tiny-whole"])
def test_sound_is_as_long_as_its_spectrogram(name: str) -> None:
    model = HiFiGAN(PRESETS[name].config)
    hop, mels = model.config.mel.hop, model.config.mel.mels
    assert [model.wave(torch.zeros(1, 1, mels, t)).shape[2] for t in (1, 7, 40)] == [hop, 7 * hop, 40 * hop]


def test_a_segment_goes_with_its_own_frames() -> None:
    """Each sample says its frame, and so does the picture; nothing is cut out of what lies behind the end."""
    model, hop = HiFiGAN(TINY), TINY.mel.hop
    frame = torch.arange(12.0) / 100
    x = frame.repeat_interleave(hop).expand(64, 1, 96)
    grid = frame.expand(64, 1, 6, 12)
    batch = tt.core.Batch(x, Picture(grid), StepNoise(0, 64, slice(None)), lengths=torch.tensor([96, 56] * 32))
    sound, picture = model.cut(batch)
    assert sound.shape == (64, 1, 48) and picture.shape == (64, 1, 6, 6)
    torch.testing.assert_close(sound[:, 0, ::hop], picture[:, 0, 0])
    starts = (sound[:, 0, 0] * 100).round().long()
    assert set(starts[::2].tolist()) == set(range(7)) and set(starts[1::2].tolist()) == {0, 1}


def test_the_generator_learns_alone_first() -> None:
    torch.manual_seed(0)
    model, before = HiFiGAN(replace(TINY, alone=2)), dict[str, dict[str, torch.Tensor]]()
    before["start"] = copy.deepcopy(model.state_dict())
    for now in train(model, Examples(TINY.x, TINY.given), Run(steps=2, batch=8)):
        before[now.stage_name] = copy.deepcopy(model.state_dict())
    assert now.step == 6

    def moved(a: str, b: str) -> set[str]:
        return {k.partition(".")[0] for k in before[a] if not torch.equal(before[a][k], before[b][k])}

    assert moved("start", "spectrograms") == {"generator"}
    assert moved("spectrograms", "adversarial") == {"generator", "judges"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"x": Audio(1, 65537)}, "x.length=65537: no multiple of the hop, 256 samples; 65536 would do"),
        ({"segment": 131072}, "longer than x.length"),
        ({"rates": (8, 5)}, "together 40, which does not divide"),
        ({"rates": (1, 4)}, "2 or more"),
        ({"kernels": (3, 4)}, "as far back as ahead; take 5"),
        ({"width": 9}, "halved 1 times; 16 would do"),
        ({"x": Audio(1, 65536, rate=8000)}, "mel.rate=16000, and x.rate=8000"),
        ({"given": Images(1, 80, 255)}, "80 bands by 256 frames"),
    ],
)
def test_what_cannot_be_built_is_said(fields, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        HiFiGANConfig(**fields)


# In use


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A voice and a vocoder, hardly trained, of tones."""
    folder = tmp_path_factory.mktemp("vocoder")
    (folder / "in" / "wavs").mkdir(parents=True)
    lines = []
    for k in range(20):
        tone = 0.3 * np.sin(2 * np.pi * (300 + 40 * k) * np.arange(3000) / RATE)[None].astype(np.float32)
        (folder / "in" / "wavs" / f"v{k}.wav").write_bytes(encode_wav(tone, RATE))
        lines.append(f"v{k}|ab ba\n")
    (folder / "in" / "metadata.csv").write_text("".join(lines))
    data = tt.data(folder / "in", split="all", sound=Audio(1, 4096, rate=RATE), cache=folder / "cache")
    speech, sounds = posed(data, TextToSpeech()), posed(data, Vocoder())
    assert sounds.given == Images(1, 40, 32) and speech.task.mel.hop == usual(RATE).hop == 128
    voice = MASTTS(MASTTSConfig(x=speech.x, given=speech.given, mel=speech.task.mel, width=8, layers=1, kernel=3))
    small = HiFiGANConfig(
        x=sounds.x, given=sounds.given, mel=sounds.task.mel, segment=1024, rates=(4,), width=8, judge=2
    )
    vocoder = HiFiGAN(replace(small, kernels=(3,), dilations=((1,),), periods=(2,), scales=1))
    for model, posed_data, name in ((voice, speech, "voice"), (vocoder, sounds, "sounds")):
        for _ in tt.train(model, posed_data, Run(steps=1, batch=2), out=folder / name):
            pass
    return folder


def test_a_voice_speaks_by_a_vocoder(runs: Path) -> None:
    plain = tt.apply(runs / "voice", text="ab", vocoder="")
    made = tt.apply(runs / "voice", text="ab", vocoder=str(runs / "sounds"))
    assert made.rate == RATE and made.amplitude.shape == plain.amplitude.shape
    assert not np.array_equal(made.amplitude, plain.amplitude)


def test_a_recording_is_said_again_at_its_own_length(runs: Path) -> None:
    tone = (0.3 * np.sin(np.arange(5000) / 5)).astype(np.float32)[None].repeat(2, 0)
    (runs / "stereo.wav").write_bytes(encode_wav(tone, 16_000))
    made = tt.apply(runs / "sounds", sound=runs / "stereo.wav")
    assert made.rate == RATE and made.amplitude.shape == (1, 2500)


def test_other_spectrograms_are_refused_in_a_sentence(runs: Path) -> None:
    voice = MASTTS(MASTTSConfig(x=Audio(1, 4096, rate=RATE), mel=Mel(rate=RATE, fft=512, hop=100, mels=40), width=8))
    with pytest.raises(UsageError, match=r"hop=128, not 100.*triptych train vocoder x\.rate=8000"):
        vocoder_of(str(runs / "sounds"), voice)
    with pytest.raises(UsageError, match="makes no sound of spectrograms; hifi-gan does"):
        vocoder_of(str(runs / "voice"), voice)
    with pytest.raises(UsageError, match="no such folder"):
        vocoder_of(str(runs / "nowhere"), voice)


def test_copy_synthesis_is_measured_beside_griffin_lim(runs: Path) -> None:
    task = Vocoder(mel=Mel(rate=RATE, fft=512, hop=128, mels=40))
    x = 0.3 * torch.sin(torch.arange(4096) / 4)[None, None].repeat(2, 1, 1)
    _, given = task.pose({"x": x}, ItemNoise(0, range(2)))
    copied = task.baselines()["Griffin-Lim"](given, Audio(1, 4096, rate=RATE))
    (one,), (two,) = task.measure(copied, x, given), task.measure(torch.randn(2, 1, 4096).clamp(-1, 1), x, given)
    assert copied.shape == x.shape and one.value < 0.5 * two.value
    assert task.shown(given, x)[0].size == (32, 40)
