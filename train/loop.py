"""The training loop, from top to bottom.

Letters: B clips, V=2 views, T samples, L frames, K labels.
"""

import math
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from lightning_fabric import Fabric

from command.progress import track
from command.record import write_record
from model.checkpoint import checkpoint_name
from model.encoder import Encoder
from model.multitask import MultiTask
from model.objectives import AugmentationPrediction, Objective, SimCLR, SimSiam
from pipeline.frontend import FrontEnd
from shards.read import ShardDirectory
from train.config import TrainConfig
from train.log import Log
from train.schedule import learning_rate
from train.state import restore, save
from train.stream import open_stream
from train.validation import COLLAPSED, EarlyStop, validate, validation_batches
from train.views import build_views, see


def train(config: TrainConfig, out: Path) -> Path:
    """Trains, or goes on with, the run in `out`; returns its last checkpoint.

    Everything random is a function of seed and step: weights, order and cuts of the clips,
    augmentations. A resumed run on the CPU therefore repeats an uninterrupted one bit for bit.

    Raises:
        ValueError: unusable shards, a checkpoint of another configuration, several processes, or
            a loss that is not finite.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after saving.
    """
    fabric = Fabric(
        accelerator=config.accelerator, devices=config.devices, precision=config.precision
    )
    if fabric.world_size > 1:
        # log and checkpoints have one writer, and NT-Xent would miss the others' negatives
        raise ValueError(
            f"{fabric.world_size} processes: expected one; give --devices 1 and start it without "
            "torchrun"
        )
    fabric.launch()
    directory = ShardDirectory.open(config.shards)
    torch.manual_seed(config.seed)
    views = build_views(config)
    model = build_model(config, n_labels=len(views.augmentations))
    optimiser = torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    early = EarlyStop()
    first_step = restore(out, config, directory, model, optimiser, early)
    if fabric.is_global_zero:
        write_record(out, "train", config, {directory.location: directory.fingerprint})

    trained, stepper = fabric.setup(model, optimiser)
    front_end = FrontEnd().to(fabric.device)
    stream = open_stream(config, directory, fabric, first_step)
    last = out / checkpoint_name(first_step)
    with (
        Log(out, first_step) as log,
        track(f"train {out.name}", config.steps, "steps", first_step) as progress,
        stop_signals() as stop,
    ):
        trained.train()
        waited_s, logged_s = 0.0, time.monotonic()
        for step in range(first_step, config.steps):
            if early.waited >= config.patience:
                sys.stderr.write(f"train: no progress in {early.waited} validations: stopped\n")
                break
            asked_s = time.monotonic()
            pcm = next(stream)
            waited_s += time.monotonic() - asked_s

            seed = (config.seed, step, fabric.global_rank)
            x1, x2, labels = see(pcm, seed, views, front_end, config.normalise)

            for group in stepper.param_groups:
                group["lr"] = learning_rate(config.schedule, step, config.steps, config.lr)
            losses = trained(x1, x2, labels)
            fabric.backward(losses.total)
            stepper.step()
            stepper.zero_grad()

            done = step + 1
            note = ""
            if done % config.log_every == 0 or done == config.steps:
                trained_losses = {k: v for k, v in losses._asdict().items() if v is not None}
                values = {name: float(loss.detach()) for name, loss in trained_losses.items()}
                if not all(map(math.isfinite, values.values())):
                    raise ValueError(
                        f"{out}: the loss at step {done} is not finite: {values}; "
                        f"{out} keeps the checkpoints before it; try a smaller --lr"
                    )
                now_s = time.monotonic()
                steps_per_s = config.log_every / (now_s - logged_s)
                rates = {
                    "clips_per_s": steps_per_s * config.batch,
                    "data_wait": waited_s / (now_s - logged_s),
                }
                log.write(done, {"lr": stepper.param_groups[0]["lr"], **values}, rates)
                note = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
                waited_s, logged_s = 0.0, now_s
            if config.validation_split is not None and done % config.validate_every == 0:
                held = validation_batches(config, directory, views, front_end, fabric.device)
                measures = validate(model, views.augmentations, held)
                log.write_validation(done, measures)
                if early.update(measures["total"], config.min_delta):
                    save(out, done, config, directory, model, optimiser, early, best=True)
                if measures.get("spread", 1.0) < COLLAPSED:
                    warnings.warn(
                        f"the embeddings have collapsed: spread {measures['spread']:.3f} of 1; "
                        "try a smaller --lr",
                        stacklevel=2,
                    )
                note = f"validation {measures['total']:.3f}"
            progress.advance(note=note)
            ends = done == config.steps or early.waited >= config.patience
            if done % config.checkpoint_every == 0 or ends or stop:
                last = save(out, done, config, directory, model, optimiser, early)
            if stop:
                raise KeyboardInterrupt(
                    f"step {done} is saved in {last}; add --resume to the same command to go on"
                )
    return last


def build_model(config: TrainConfig, n_labels: int) -> MultiTask:
    """The untrained model of a configuration, with the published parameter counts by default."""
    encoder = Encoder(config.variant, config.dim, config.width)
    contrastive: Objective | None = None
    if config.contrastive == "simclr":
        contrastive = SimCLR(encoder.task_dim, config.temperature)
    elif config.contrastive == "simsiam":
        contrastive = SimSiam(encoder.task_dim)
    predictive = AugmentationPrediction(encoder.task_dim, n_labels) if config.predictive else None
    return MultiTask(encoder, contrastive, predictive, config.predictive_weight)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that fills when SIGINT or SIGTERM asks to stop; a second Ctrl-C stops at once.

    A step that has begun is finished first: half an optimiser step could not be resumed.
    """
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
