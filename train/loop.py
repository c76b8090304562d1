"""The training loop, from top to bottom.

Letters: B clips, V=2 views, T samples, L frames, K labels.
"""

import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import torch
from lightning_fabric.utilities import rank_zero_only
from torch import Tensor

from slvr.command.line import Terminated
from slvr.command.progress import track
from slvr.command.record import write_record
from slvr.model.checkpoint import checkpoint_name
from slvr.model.encoders.resnet18 import Encoder
from slvr.model.multitask import MultiTask
from slvr.model.norms import synchronise
from slvr.model.objectives.contract import Targets
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.pipeline.views.chains import Chains
from slvr.shards.read import ShardDirectory
from slvr.train.compilation import compiled
from slvr.train.config import TrainConfig
from slvr.train.fault import FirstFault, explain
from slvr.train.init import initialise
from slvr.train.log import Log, gpu_memory, progress_note
from slvr.train.objectives import build_objective
from slvr.train.ranks import Ranks, open_fabric
from slvr.train.report import count_parameters, write_report
from slvr.train.schedule import learning_rate
from slvr.train.state import newest, restore, save
from slvr.train.stream import Stream
from slvr.train.validation import COLLAPSED, EarlyStop, open_validation, validate
from slvr.train.views import build_views, see


def train(config: TrainConfig, out: Path) -> Path:
    """Trains, or goes on with, the run in `out`; returns its last checkpoint.

    Everything random is a function of seed and step alone, in every process: weights, order and
    cuts of the clips, augmentations. A resumed run on the CPU therefore repeats an uninterrupted
    one bit for bit, and W processes take the clips and views of one, each its share of each batch.

    Raises:
        ValueError: unusable shards, a checkpoint of another configuration, or a loss that is not
            finite.
        KeyboardInterrupt: Ctrl-C or (`Terminated`) SIGTERM, after saving.
    """
    fabric = open_fabric(config)
    fabric.launch()
    ranks = Ranks(fabric)
    early = EarlyStop()
    with ranks.together():
        directory = ShardDirectory.open(config.shards)
        torch.manual_seed(config.seed)
        views = build_views(config)
        model = build_model(config, views)
        if config.sync_bn:
            synchronise(model)
        optimiser = torch.optim.Adam(
            model.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        saved = newest(out, config, directory) if ranks.is_first else None
        if ranks.is_first:
            write_record(out, "train", config, {directory.location: directory.fingerprint})
    saved = ranks.from_first(saved)
    with ranks.together():
        if config.init is not None and saved is None:
            say(initialise(model, Path(config.init)))
        network = compiled(model, config, fabric.device)
    encoder_parameters, parameters = count_parameters(model)
    say(f"{encoder_parameters:,} parameters in the encoder, {parameters:,} with the heads")

    trained, stepper = fabric.setup(network, optimiser)
    # not before: the setup has given the weights their precision, to which moments are cast
    first_step = 0 if saved is None else restore(saved, model, stepper, early)
    front_end = MTSLVR().to(fabric.device)
    with ranks.together():
        stream = Stream(config, directory, fabric)
        validation = open_validation(config, directory, fabric.device) if ranks.is_first else None
        if validation is not None:
            say(validation.said)
    validates = ranks.from_first(validation is not None)
    fault = FirstFault(fabric.device)
    last = out / checkpoint_name(first_step)

    def look(pcm: Tensor, step: int) -> tuple[Tensor, Tensor, Targets]:
        seed = (config.seed, step)
        return see(pcm, seed, views, front_end, config.normalise, ranks.rank, ranks.world)

    with (
        Log(out, first_step) if ranks.is_first else nullcontext() as log,
        track(f"train {out.name}", config.steps, "steps", first_step)
        if ranks.is_first
        else nullcontext() as progress,
        stop_signals() as stop,
    ):
        trained.train()
        batches = stream.batches(first_step)
        waited_s, logged_s, logged = 0.0, time.monotonic(), first_step
        for step in range(first_step, config.steps):
            if early.waited >= config.patience:
                say(f"no progress in {early.waited} validations: stopped")
                break
            asked_s = time.monotonic()
            pcm = next(batches)
            waited_s += time.monotonic() - asked_s

            x1, x2, targets = look(pcm, step)
            for group in stepper.param_groups:
                group["lr"] = learning_rate(config.schedule, step, config.steps, config.lr)
            losses = trained(x1, x2, targets)
            fabric.backward(losses.total)
            stepper.step()
            stepper.zero_grad()
            fault.note(step, losses.total)

            done = step + 1
            signalled = ranks.highest(max(stop, default=0))
            log_now = done % config.log_every == 0 or done == config.steps
            validate_now = validates and done % config.validate_every == 0
            save_now = done % config.checkpoint_every == 0 or done == config.steps or signalled
            note = ""
            if log_now or validate_now or save_now:
                faulty = fault.step(ranks)
                if faulty is not None:
                    x1, x2, _ = look(next(stream.batches(faulty)), faulty)
                    finite = (x1.isfinite() & x2.isfinite()).flatten(1).all(1)
                    ranks.fail(explain(out, faulty, stream, finite, ranks))
            if log_now:
                values = ranks.mean(
                    {k: float(v.detach()) for k, v in losses._asdict().items() if v is not None}
                )
                now_s = time.monotonic()
                steps_per_s = (done - logged) / (now_s - logged_s)
                rates = {
                    "clips_per_s": steps_per_s * config.batch,
                    "data_wait": waited_s / (now_s - logged_s),
                    **gpu_memory(fabric.device),
                }
                with ranks.together():
                    if log is not None:
                        log.write(done, {"lr": stepper.param_groups[0]["lr"], **values}, rates)
                note = progress_note(values, rates)
                waited_s, logged_s, logged = 0.0, now_s, done
            if validate_now:
                measures: dict[str, float] = {}
                with ranks.together():
                    if validation is not None:
                        measures = validate(model, views, validation.batches(views, front_end))
                measures = ranks.from_first(measures)
                better = early.update(measures["total"], config.min_delta)
                with ranks.together():
                    if log is not None:
                        log.write_validation(done, measures)
                    if better and ranks.is_first:
                        save(out, done, config, directory, model, optimiser, early, best=True)
                if measures.get("spread", 1.0) < COLLAPSED and ranks.is_first:
                    warnings.warn(
                        f"the embeddings have collapsed: spread {measures['spread']:.3f} of 1; "
                        "try a smaller --lr",
                        stacklevel=2,
                    )
                note = f"validation {measures['total']:.3f}"
            if progress is not None:
                progress.advance(note=note)
            if save_now or early.waited >= config.patience:
                with ranks.together():
                    if ranks.is_first:
                        save(out, done, config, directory, model, optimiser, early)
                last = out / checkpoint_name(done)
            if signalled:
                kind = Terminated if signalled == signal.SIGTERM else KeyboardInterrupt
                ranks.fail(
                    kind(
                        f"step {done} is saved in {last}; add --resume to the same command to go on"
                    )
                )
    with ranks.together():
        if ranks.is_first:
            say(f"report: {write_report(out, config, model, fabric.device)}")
    return last


@rank_zero_only
def say(words: str) -> None:
    """Tells the user, on stderr; of several processes only the first does."""
    sys.stderr.write(f"train: {words}\n")


def build_model(config: TrainConfig, views: Chains) -> MultiTask:
    """The untrained model of a configuration, with the published parameter counts by default."""
    encoder = Encoder(
        config.variant, config.dim, config.width, exact_speedups=config.exact_speedups
    )
    contrastive, predictive = (
        build_objective(names, encoder.task_dim, config, views)
        for names in (config.contrastive, config.predictive)
    )
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
