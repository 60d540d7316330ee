"""The same VAE under pythae's trainer and under our loop."""

import logging
from typing import Any

import torch

from steps.turns import Row, Side, check_same, compare, size, triptych
from triptych.core import Adam, Batch, Clock, StepNoise
from triptych.data import Dataset
from triptych.models.vae.vae import VAE, VAEConfig

PYTHAE = (
    "pythae is missing, so its rows are. Beside the dev extras, in a folder of its own so that nothing else changes: "
    "pip install --no-deps --target PEERS pythae==0.1.2 cloudpickle imageio tqdm; "
    "then PYTHONPATH=PEERS python benchmarks/training.py"
)


class Collated(list[Any]):
    """Batches made beforehand, in place of pythae's loader."""

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self.dataset = loader.dataset


def pythae_sides(ours: VAE, images: Dataset, batch: int) -> list[Side]:
    """pythae's own model under its own trainer, `BaseTrainer.train_step`, an epoch of which is one block here.

    No progress bar. Its default Adam, at our learning rate. Raises ImportError.
    """
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE as PythaeVAE
    from pythae.models import VAEConfig as PythaeConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import CallbackHandler, TrainingCallback

    logging.getLogger(BaseTrainer.__module__).setLevel(logging.WARNING)
    latent = ours.config.latent

    def trainer() -> Any:
        about = PythaeConfig(input_dim=images.x.shape, latent_dim=latent, reconstruction_loss="bce")
        model = PythaeVAE(about)
        first, last = ours.encoder[0], ours.encoder[2]
        with torch.no_grad():
            model.encoder.layers[0][0].weight.copy_(2 * first.weight)  # its images are in [0, 1], ours in [-1, 1]
            model.encoder.layers[0][0].bias.copy_(first.bias - first.weight.sum(1))
            for mine, part, scale in (
                (model.encoder.embedding, slice(latent), 1),
                (model.encoder.log_var, slice(latent, None), 2),  # of the variance, where ours is of its root
            ):
                mine.weight.copy_(scale * last.weight[part])
                mine.bias.copy_(scale * last.bias[part])
        for mine, theirs in zip(model.decoder.layers, (ours.decoder[0], ours.decoder[2]), strict=True):
            mine[0].load_state_dict(theirs.state_dict())
        trainer = BaseTrainer(
            model,
            BaseDataset(images.stored, torch.zeros(len(images))),
            training_config=BaseTrainerConfig(
                per_device_train_batch_size=batch, learning_rate=ours.config.adam.lr, no_cuda=True
            ),
        )
        trainer.set_optimizer()
        trainer.callback_handler = CallbackHandler(callbacks=[TrainingCallback()], model=model)
        return trainer

    def side(name: str, trainer: Any) -> Side:
        def run(steps: int) -> float:
            if steps != len(trainer.train_loader):
                raise ValueError(f"an epoch of {len(trainer.train_loader)} steps was prepared, not of {steps}")
            return trainer.train_step(epoch=1)

        return Side(name, run, size(trainer.model), name)

    whole, in_hand = trainer(), trainer()
    in_hand.train_loader = Collated(in_hand.train_loader)
    x = images.stored.float()[:batch]
    with torch.no_grad():
        torch.manual_seed(3)  # of the generator that both draw from in the end
        theirs = whole.model({"data": x}).loss
        mine = ours.loss(Batch(2 * x - 1, None, StepNoise(3, len(x), slice(None))), Clock(0, 0)).value
    check_same("VAE", mine, theirs)
    return [
        side("pythae 0.1.2, its trainer and loader", whole),
        side("pythae 0.1.2, its trainer, batches in hand", in_hand),
    ]


def vae(
    images: Dataset, steps: int, repeats: int, *, batch: int = 128, latent: int = 16
) -> tuple[list[Row], list[str]]:
    """A VAE with one hidden layer of 512, as pythae's own; `images` are of two levels. Rows, and what is missing."""
    images = images.subset(slice(batch * steps))

    def make() -> VAE:
        torch.manual_seed(0)
        return VAE(VAEConfig(x=images.x, latent=latent, hidden=(512,), adam=Adam(lr=1e-3)))

    try:
        peers, missing = pythae_sides(make(), images, batch), []
    except ImportError:
        peers, missing = [], [PYTHAE]
    ours = [
        triptych("triptych", make(), images, batch, likelihood=True),
        triptych("triptych, bf16", make(), images, batch, likelihood=True, precision="bf16"),
    ]
    group = f"VAE {images.x.dims}-512-{latent}, batch {batch}"
    return compare(group, [*peers, *ours], steps, repeats), missing
