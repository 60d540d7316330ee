"""The catalogue: every model by name, those that are here and those that are planned.

A test walks this folder and fails if a model's file is missing from the table. Nothing is imported until it is asked
for, so that listing models does not load torch.
"""

import sys
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, get_args

from triptych.errors import UsageError

if TYPE_CHECKING:
    from triptych.core.game import Preset
    from triptych.core.model import Generative

Family = Literal["gan", "vae", "autoregressive", "translation"]
Kind = Literal["images", "text", "sound", "points"]
TAKES: dict[str, tuple[Kind, ...]] = {
    **dict.fromkeys(("gan", "bigan", "ebgan", "lsgan", "wgan", "wgan-gp", "r3gan"), ("images", "points")),
    **dict.fromkeys(("lstm", "gpt"), ("text",)),
    "wavenet": ("sound",),
}
"""What models take; those that are not named here take images."""
LikelihoodKind = Literal["exact", "lower bound", "none"]


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue and its paper."""

    name: str
    title: str
    """What people call it."""
    family: Family
    year: int
    authors: str
    paper: str
    url: str
    conditions: str
    """What it can be conditioned on; "none" for p(x)."""
    likelihood: LikelihoodKind
    cls: str | None = None
    """module.Class below this package; None while the model is planned."""

    @property
    def ready(self) -> bool:
        return self.cls is not None

    @property
    def takes(self) -> tuple[Kind, ...]:
        """The kinds of data that it models."""
        return TAKES.get(self.name, ("images",))

    def module(self) -> Any:
        """The model's file. Raises UsageError while it is planned."""
        if self.cls is None:
            raise UsageError(f"{self.name} is planned, not there yet; ready: {', '.join(ready())}")
        return import_module(f"triptych.models.{self.cls.rpartition('.')[0]}")

    def load(self) -> "type[Generative[Any]]":
        """The model's class."""
        module = self.module()
        found: type[Generative[Any]] = getattr(module, str(self.cls).rpartition(".")[2])
        return found

    def presets(self) -> "dict[str, Preset]":
        found: dict[str, Preset] = self.module().PRESETS
        return found

    def bibtex(self) -> str:
        """The paper as a BibTeX entry."""
        key = f"{self.authors.split(',')[0].split()[-1].lower()}{self.year}{self.name.replace('-', '')}"
        lines = [f"  title = {{{self.paper}}}", f"  author = {{{self.authors.replace(', ', ' and ')}}}"]
        lines.append(f"  year = {{{self.year}}}")
        if "arxiv.org/abs/" in self.url:
            lines += [f"  eprint = {{{self.url.rpartition('/')[2]}}}", "  archivePrefix = {arXiv}"]
        lines.append(f"  url = {{{self.url}}}")
        return "@misc{" + key + ",\n" + ",\n".join(lines) + "\n}"


def arxiv(number: str) -> str:
    return f"https://arxiv.org/abs/{number}"


OORD = "Aäron van den Oord, Nal Kalchbrenner, Koray Kavukcuoglu"

# fmt: off
TABLE: tuple[Entry, ...] = (
    # GANs
    Entry("gan", "GAN", "gan", 2014,
          "Ian J. Goodfellow, Jean Pouget-Abadie, Mehdi Mirza, Bing Xu, David Warde-Farley, Sherjil Ozair, "
          "Aaron Courville, Yoshua Bengio",
          "Generative Adversarial Networks",
          arxiv("1406.2661"), "none", "none", "gan.gan.GAN"),
    Entry("cgan", "Conditional GAN", "gan", 2014,
          "Mehdi Mirza, Simon Osindero",
          "Conditional Generative Adversarial Nets",
          arxiv("1411.1784"), "label", "none", "gan.cgan.CGAN"),
    Entry("lapgan", "LAPGAN", "gan", 2015,
          "Emily Denton, Soumith Chintala, Arthur Szlam, Rob Fergus",
          "Deep Generative Image Models using a Laplacian Pyramid of Adversarial Networks",
          arxiv("1506.05751"), "none or label", "none", "gan.lapgan.LAPGAN"),
    Entry("dcgan", "DCGAN", "gan", 2015,
          "Alec Radford, Luke Metz, Soumith Chintala",
          "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
          arxiv("1511.06434"), "none", "none", "gan.dcgan.DCGAN"),
    Entry("bigan", "BiGAN", "gan", 2016,
          "Jeff Donahue, Philipp Krähenbühl, Trevor Darrell",
          "Adversarial Feature Learning",
          arxiv("1605.09782"), "none", "none", "gan.bigan.BiGAN"),
    Entry("sgan", "Semi-supervised GAN", "gan", 2016,
          "Augustus Odena",
          "Semi-Supervised Learning with Generative Adversarial Networks",
          arxiv("1606.01583"), "partial label", "none", "gan.sgan.SGAN"),
    Entry("infogan", "InfoGAN", "gan", 2016,
          "Xi Chen, Yan Duan, Rein Houthooft, John Schulman, Ilya Sutskever, Pieter Abbeel",
          "InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial Nets",
          arxiv("1606.03657"), "none", "none", "gan.infogan.InfoGAN"),
    Entry("ebgan", "Energy-based GAN", "gan", 2016,
          "Junbo Zhao, Michael Mathieu, Yann LeCun",
          "Energy-based Generative Adversarial Network",
          arxiv("1609.03126"), "none", "none", "gan.ebgan.EBGAN"),
    Entry("acgan", "ACGAN", "gan", 2016,
          "Augustus Odena, Christopher Olah, Jonathon Shlens",
          "Conditional Image Synthesis With Auxiliary Classifier GANs",
          arxiv("1610.09585"), "label", "none", "gan.acgan.ACGAN"),
    Entry("lsgan", "Least squares GAN", "gan", 2016,
          "Xudong Mao, Qing Li, Haoran Xie, Raymond Y. K. Lau, Zhen Wang, Stephen Paul Smolley",
          "Least Squares Generative Adversarial Networks",
          arxiv("1611.04076"), "none", "none", "gan.lsgan.LSGAN"),
    Entry("stacked-gan", "Stacked GAN", "gan", 2016,
          "Xun Huang, Yixuan Li, Omid Poursaeed, John Hopcroft, Serge Belongie",
          "Stacked Generative Adversarial Networks",
          arxiv("1612.04357"), "label", "none", "gan.stacked_gan.StackedGAN"),
    Entry("wgan", "Wasserstein GAN", "gan", 2017,
          "Martin Arjovsky, Soumith Chintala, Léon Bottou",
          "Wasserstein GAN",
          arxiv("1701.07875"), "none", "none", "gan.wgan.WGAN"),
    Entry("wgan-gp", "WGAN with gradient penalty", "gan", 2017,
          "Ishaan Gulrajani, Faruk Ahmed, Martin Arjovsky, Vincent Dumoulin, Aaron Courville",
          "Improved Training of Wasserstein GANs",
          arxiv("1704.00028"), "none", "none", "gan.wgan_gp.WGANGP"),
    Entry("progan", "Progressive GAN", "gan", 2017,
          "Tero Karras, Timo Aila, Samuli Laine, Jaakko Lehtinen",
          "Progressive Growing of GANs for Improved Quality, Stability, and Variation",
          arxiv("1710.10196"), "none", "none", "gan.progan.ProGAN"),
    Entry("sagan", "SAGAN", "gan", 2018,
          "Han Zhang, Ian Goodfellow, Dimitris Metaxas, Augustus Odena",
          "Self-Attention Generative Adversarial Networks",
          arxiv("1805.08318"), "label", "none", "gan.sagan.SAGAN"),
    Entry("biggan", "BigGAN", "gan", 2018,
          "Andrew Brock, Jeff Donahue, Karen Simonyan",
          "Large Scale GAN Training for High Fidelity Natural Image Synthesis",
          arxiv("1809.11096"), "label", "none", "gan.biggan.BigGAN"),
    Entry("ambient-gan", "AmbientGAN", "gan", 2018,
          "Ashish Bora, Eric Price, Alexandros G. Dimakis",
          "AmbientGAN: Generative models from lossy measurements",
          "https://openreview.net/forum?id=Hy7fDog0b", "none", "none", "gan.ambient_gan.AmbientGAN"),
    Entry("msg-gan", "MSG-GAN", "gan", 2019,
          "Animesh Karnewar, Oliver Wang",
          "MSG-GAN: Multi-Scale Gradients for Generative Adversarial Networks",
          arxiv("1903.06048"), "none", "none", "gan.msg_gan.MSGGAN"),
    Entry("autogan", "AutoGAN", "gan", 2019,
          "Xinyu Gong, Shiyu Chang, Yifan Jiang, Zhangyang Wang",
          "AutoGAN: Neural Architecture Search for Generative Adversarial Networks",
          arxiv("1908.03835"), "none", "none", "gan.autogan.AutoGAN"),
    Entry("nr-gan", "NR-GAN", "gan", 2019,
          "Takuhiro Kaneko, Tatsuya Harada",
          "Noise Robust Generative Adversarial Networks",
          arxiv("1911.11776"), "none", "none", "gan.nr_gan.NRGAN"),
    Entry("ylg", "Your Local GAN", "gan", 2019,
          "Giannis Daras, Augustus Odena, Han Zhang, Alexandros G. Dimakis",
          "Your Local GAN: Designing Two Dimensional Local Attention Mechanisms for Generative Models",
          arxiv("1911.12287"), "label", "none", "gan.ylg.YLG"),
    Entry("r3gan", "R3GAN", "gan", 2024,
          "Yiwen Huang, Aaron Gokaslan, Volodymyr Kuleshov, James Tompkin",
          "The GAN is dead; long live the GAN! A Modern GAN Baseline",
          arxiv("2501.05441"), "none or label", "none", "gan.r3gan.R3GAN"),
    Entry("gat", "GAT", "gan", 2025,
          "Sangeek Hyun, MinKyu Lee, Jae-Pil Heo",
          "Scalable GANs with Transformers",
          arxiv("2509.24935"), "none or label", "none", "gan.gat.GAT"),
    # VAEs
    Entry("vae", "VAE", "vae", 2013,
          "Diederik P. Kingma, Max Welling",
          "Auto-Encoding Variational Bayes",
          arxiv("1312.6114"), "none", "lower bound", "vae.vae.VAE"),
    Entry("cvae", "CVAE", "vae", 2015,
          "Kihyuk Sohn, Honglak Lee, Xinchen Yan",
          "Learning Structured Output Representation using Deep Conditional Generative Models",
          "https://papers.nips.cc/paper/5775-learning-structured-output-representation-using-deep-conditional-generative-models",
          "label", "lower bound", "vae.cvae.CVAE"),
    Entry("iwae", "IWAE", "vae", 2015,
          "Yuri Burda, Roger Grosse, Ruslan Salakhutdinov",
          "Importance Weighted Autoencoders",
          arxiv("1509.00519"), "none", "lower bound", "vae.iwae.IWAE"),
    Entry("vae-gan", "VAE-GAN", "vae", 2015,
          "Anders Boesen Lindbo Larsen, Søren Kaae Sønderby, Hugo Larochelle, Ole Winther",
          "Autoencoding beyond pixels using a learned similarity metric",
          arxiv("1512.09300"), "none", "none", "vae.vae_gan.VAEGAN"),
    Entry("ladder-vae", "Ladder VAE", "vae", 2016,
          "Casper Kaae Sønderby, Tapani Raiko, Lars Maaløe, Søren Kaae Sønderby, Ole Winther",
          "Ladder Variational Autoencoders",
          arxiv("1602.02282"), "none", "lower bound", "vae.ladder_vae.LadderVAE"),
    Entry("beta-vae", "beta-VAE", "vae", 2017,
          "Irina Higgins, Loic Matthey, Arka Pal, Christopher Burgess, Xavier Glorot, Matthew Botvinick, "
          "Shakir Mohamed, Alexander Lerchner",
          "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework",
          "https://openreview.net/forum?id=Sy2fzU9gl", "none", "lower bound", "vae.beta_vae.BetaVAE"),
    Entry("vq-vae", "VQ-VAE", "vae", 2017,
          "Aäron van den Oord, Oriol Vinyals, Koray Kavukcuoglu",
          "Neural Discrete Representation Learning",
          arxiv("1711.00937"), "none or label", "lower bound", "vae.vq_vae.VQVAE"),
    Entry("miwae", "MIWAE", "vae", 2018,
          "Pierre-Alexandre Mattei, Jes Frellsen",
          "MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets",
          arxiv("1812.02633"), "none", "lower bound", "vae.miwae.MIWAE"),
    Entry("vq-vae-2", "VQ-VAE-2", "vae", 2019,
          "Ali Razavi, Aäron van den Oord, Oriol Vinyals",
          "Generating Diverse High-Fidelity Images with VQ-VAE-2",
          arxiv("1906.00446"), "none or label", "lower bound", "vae.vq_vae_2.VQVAE2"),
    Entry("vdvae", "Very deep VAE", "vae", 2020,
          "Rewon Child",
          "Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images",
          arxiv("2011.10650"), "none", "lower bound", "vae.vdvae.VDVAE"),
    # autoregressive models
    Entry("nade", "NADE", "autoregressive", 2011,
          "Benigno Uria, Marc-Alexandre Côté, Karol Gregor, Iain Murray, Hugo Larochelle",
          "Neural Autoregressive Distribution Estimation",
          arxiv("1605.02226"), "none", "exact", "autoregressive.nade.NADE"),
    Entry("eonade", "EoNADE", "autoregressive", 2013,
          "Benigno Uria, Iain Murray, Hugo Larochelle",
          "A Deep and Tractable Density Estimator",
          arxiv("1310.1757"), "none", "exact", "autoregressive.eonade.EoNADE"),
    Entry("lstm", "LSTM language model", "autoregressive", 2013,
          "Alex Graves",
          "Generating Sequences With Recurrent Neural Networks",
          arxiv("1308.0850"), "none", "exact", "autoregressive.lstm.LSTM"),
    Entry("darn", "DARN", "autoregressive", 2013,
          "Karol Gregor, Ivo Danihelka, Andriy Mnih, Charles Blundell, Daan Wierstra",
          "Deep AutoRegressive Networks",
          arxiv("1310.8499"), "none", "lower bound", "autoregressive.darn.DARN"),
    Entry("made", "MADE", "autoregressive", 2015,
          "Mathieu Germain, Karol Gregor, Iain Murray, Hugo Larochelle",
          "MADE: Masked Autoencoder for Distribution Estimation",
          arxiv("1502.03509"), "none", "exact", "autoregressive.made.MADE"),
    Entry("pixelcnn", "PixelCNN", "autoregressive", 2016,
          OORD,
          "Pixel Recurrent Neural Networks",
          arxiv("1601.06759"), "none", "exact", "autoregressive.pixelcnn.PixelCNN"),
    Entry("pixelrnn-row", "PixelRNN, Row LSTM", "autoregressive", 2016,
          OORD,
          "Pixel Recurrent Neural Networks",
          arxiv("1601.06759"), "none", "exact", "autoregressive.row_lstm.RowLSTM"),
    Entry("pixelrnn-diagonal", "PixelRNN, Diagonal BiLSTM", "autoregressive", 2016,
          OORD,
          "Pixel Recurrent Neural Networks",
          arxiv("1601.06759"), "none", "exact", "autoregressive.diagonal_bilstm.DiagonalBiLSTM"),
    Entry("gated-pixelcnn", "Gated PixelCNN", "autoregressive", 2016,
          "Aäron van den Oord, Nal Kalchbrenner, Oriol Vinyals, Lasse Espeholt, Alex Graves, "
          "Koray Kavukcuoglu",
          "Conditional Image Generation with PixelCNN Decoders",
          arxiv("1606.05328"), "none or label", "exact", "autoregressive.gated_pixelcnn.GatedPixelCNN"),
    Entry("wavenet", "WaveNet", "autoregressive", 2016,
          "Aäron van den Oord, Sander Dieleman, Heiga Zen, Karen Simonyan, Oriol Vinyals, Alex Graves, "
          "Nal Kalchbrenner, Andrew Senior, Koray Kavukcuoglu",
          "WaveNet: A Generative Model for Raw Audio",
          arxiv("1609.03499"), "none or label", "exact", "autoregressive.wavenet.WaveNet"),
    Entry("pixelcnn-pp", "PixelCNN++", "autoregressive", 2017,
          "Tim Salimans, Andrej Karpathy, Xi Chen, Diederik P. Kingma",
          "PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other Modifications",
          arxiv("1701.05517"), "none or label", "exact", "autoregressive.pixelcnn_pp.PixelCNNPP"),
    Entry("pixelsnail", "PixelSNAIL", "autoregressive", 2017,
          "Xi Chen, Nikhil Mishra, Mostafa Rohaninejad, Pieter Abbeel",
          "PixelSNAIL: An Improved Autoregressive Generative Model",
          arxiv("1712.09763"), "none", "exact", "autoregressive.pixelsnail.PixelSNAIL"),
    Entry("gpt", "GPT", "autoregressive", 2018,
          "Alec Radford, Karthik Narasimhan, Tim Salimans, Ilya Sutskever",
          "Improving Language Understanding by Generative Pre-Training",
          "https://openai.com/research/language-unsupervised", "none", "exact", "autoregressive.gpt.GPT"),
    Entry("imagegpt", "ImageGPT", "autoregressive", 2020,
          "Mark Chen, Alec Radford, Rewon Child, Jeffrey Wu, Heewoo Jun, David Luan, Ilya Sutskever",
          "Generative Pretraining From Pixels",
          "https://proceedings.mlr.press/v119/chen20s.html", "none or label", "exact",
          "autoregressive.image_gpt.ImageGPT"),
    # from pictures to pictures
    Entry("srgan", "SRGAN", "translation", 2016,
          "Christian Ledig, Lucas Theis, Ferenc Huszár, Jose Caballero, Andrew Cunningham, Alejandro Acosta, "
          "Andrew Aitken, Alykhan Tejani, Johannes Totz, Zehan Wang, Wenzhe Shi",
          "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network",
          arxiv("1609.04802"), "picture", "none", "translation.srgan.SRGAN"),
    Entry("deepfill", "DeepFill v2", "translation", 2018,
          "Jiahui Yu, Zhe Lin, Jimei Yang, Xiaohui Shen, Xin Lu, Thomas Huang",
          "Free-Form Image Inpainting with Gated Convolution",
          arxiv("1806.03589"), "picture", "none", "translation.deepfill.DeepFill"),
    Entry("sr-compact", "SR-Compact", "translation", 2021,
          "Xintao Wang, Liangbin Xie, Chao Dong, Ying Shan",
          "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data",
          arxiv("2107.10833"), "picture", "none", "translation.sr_compact.SRCompact"),
)
# fmt: on

MODELS: dict[str, Entry] = {entry.name: entry for entry in TABLE}


def ready() -> list[str]:
    """The names of the models that are here."""
    return [entry.name for entry in TABLE if entry.ready]


def takers(kind: str) -> tuple[Entry, ...]:
    """The models that take a kind of data. Raises UsageError for a kind that there is not."""
    if kind not in get_args(Kind):
        near = get_close_matches(kind, get_args(Kind), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"takes={kind!r}: models take {', '.join(get_args(Kind))}{hint}")
    return tuple(entry for entry in TABLE if kind in entry.takes)


def instead(name: str, kind: Kind) -> str:
    """Ready models that take a kind of data, the most like the one of this name first: "imagegpt, pixelcnn or made"."""
    entry = MODELS[name]
    found = [one for one in takers(kind) if one.ready]
    found.sort(key=lambda one: (name not in one.name, one.family != entry.family))
    names = [one.name for one in found[:3]]
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def find(name: str) -> Entry:
    """The catalogue's entry of this name. Raises UsageError, with a suggestion, if there is none."""
    if name in MODELS:
        return MODELS[name]
    near = get_close_matches(name.lower(), MODELS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"ready: {', '.join(ready())}"
    raise UsageError(f"there is no model {name!r}; {hint}")


def find_class(name: str) -> "type[Generative[Any]]":
    """The class of the model of this name."""
    return find(name).load()


def find_preset(name: str) -> "tuple[Entry, Preset | None]":
    """A model's name, or a preset's (`dcgan-mnist`) -> the model's entry, and the preset if it was one.

    Raises UsageError, with a suggestion, if it is neither.
    """
    if name in MODELS:
        return MODELS[name], None
    for entry in sorted(TABLE, key=lambda e: -len(e.name)):
        if entry.ready and name.startswith(entry.name + "-"):
            presets = entry.presets()
            if name in presets:
                return entry, presets[name]
            raise UsageError(f"{entry.name} has no preset {name!r}; it has {', '.join(presets)}")
    return find(name), None


class Catalogue(ModuleType):
    """This module, called: `tt.models()` lists the names of the models, `tt.models("text")` those that take text."""

    def __call__(self, takes: str | None = None) -> list[str]:
        return [entry.name for entry in (TABLE if takes is None else takers(takes)) if entry.ready]


sys.modules[__name__].__class__ = Catalogue
