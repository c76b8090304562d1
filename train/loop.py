"""The training loop, from top to bottom.

Letters: B clips.
"""

import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from lightning_fabric.utilities import rank_zero_only

from slvr.command.line import Terminated
from slvr.command.progress import track
from slvr.command.record import write_record
from slvr.model.checkpoint import checkpoint_name
from slvr.model.learner import TOTAL
from slvr.model.norms import synchronise
from slvr.shards.common import table_sha256
from slvr.shards.read import ShardDirectory
from slvr.train.config import RunConfig
from slvr.train.fault import FirstFault, explain
from slvr.train.log import Log, gpu_memory, progress_note
from slvr.train.ranks import Ranks, open_fabric
from slvr.train.report import write_report
from slvr.train.schedule import learning_rate
from slvr.train.state import Checkpoints, restore
from slvr.train.stream import Stream
from slvr.train.subjects import leaves_weights_unused, open_learning
from slvr.train.validation import COLLAPSED, EarlyStop, open_validation


def train(config: RunConfig, out: Path) -> Path:
    """Trains, or goes on with, the run in `out`; returns its last checkpoint.

    What is learnt, an encoder or a separator, is a `Learning`; everything else is the same.

    Everything random is a function of seed and step alone, in every process: weights, order and
    cuts of the clips, augmentations, dropout. A resumed run on the CPU therefore repeats
    an uninterrupted one bit for bit, and W processes take the clips and views of one, each its
    share of each batch; of dropout each draws its own.

    Raises:
        ValueError: unusable shards, a checkpoint of another configuration, or a loss that is not
            finite.
        KeyboardInterrupt: Ctrl-C or (`Terminated`) SIGTERM, after saving.
    """
    data, optimisation, output = config.data, config.optimisation, config.output
    fabric = open_fabric(config.devices, data.batch, leaves_weights_unused(config))
    fabric.launch()
    ranks = Ranks(fabric)
    early = EarlyStop()
    with ranks.together():
        directory = ShardDirectory.open(data.shards)
        torch.manual_seed(data.seed)
        learning = open_learning(config, fabric.device, ranks)
        model = learning.model
        if config.devices.sync_bn:
            synchronise(model)
        optimiser = torch.optim.Adam(
            model.parameters(),
            lr=optimisation.lr,
            weight_decay=optimisation.weight_decay,
            fused=fabric.device.type == "cuda",  # one kernel a few dozen tensors, not ten a tensor
        )
        kept = Checkpoints(out, config, directory)
        saved = kept.newest() if ranks.is_first else None
        if ranks.is_first:
            sources = {directory.location: directory.fingerprint}
            if data.only is not None:
                sources[data.only] = table_sha256(data.only)
            write_record(out, "train", config.flat(), sources)
    saved = ranks.from_first(saved)
    with ranks.together():
        learnt = learning.learnt_before(directory, saved) if ranks.is_first else {}
    learning.take(ranks.from_first(learnt))
    if learning.found:
        say(f"front end: {learning.found}")
    with ranks.together():
        if output.init is not None and saved is None:
            say(learning.initialise(Path(output.init)))
        network = learning.compiled(fabric.device) if config.devices.compile else model
    say(f"parameters: {learning.sizes}")

    trained, stepper = fabric.setup(network, optimiser)
    # not before: the setup has given the weights their precision, to which moments are cast
    first_step = 0 if saved is None else restore(saved, model, stepper, early)
    with ranks.together():
        stream = Stream(data, directory, fabric)
        # rank 0 validates alone
        validation = open_validation(data, directory, fabric.device) if ranks.is_first else None
        if validation is not None:
            say(validation.said)
    validates = ranks.from_first(validation is not None)
    fault = FirstFault(fabric.device)
    last = out / checkpoint_name(first_step)

    def save(step: int, *, best: bool = False) -> None:
        kept.save(step, model, learning.about, optimiser, early, best=best)

    with (
        Log(out, learning.columns, first_step) if ranks.is_first else nullcontext() as log,
        track(f"train {out.name}", optimisation.steps, "steps", first_step)
        if ranks.is_first
        else nullcontext() as progress,
        stop_signals() as stop,
    ):
        trained.train()
        if first_step == 0 and 0 in output.kept_steps and saved is None:
            with ranks.together():
                if ranks.is_first:
                    save(0)
        batches = stream.batches(first_step)
        waited_s, logged_s, logged = 0.0, time.monotonic(), first_step
        for step in range(first_step, optimisation.steps):
            if early.waited >= optimisation.patience:
                say(f"no progress in {early.waited} validations: stopped")
                break
            asked_s = time.monotonic()
            batch = next(batches)
            waited_s += time.monotonic() - asked_s

            inputs = learning.inputs(batch.pcm, (data.seed, step), batch.cut)
            for group in stepper.param_groups:
                group["lr"] = learning_rate(
                    optimisation.schedule, step, optimisation.steps, optimisation.lr
                )
            # what the network itself draws, as stochastic depth does, is a function of the step too
            torch.manual_seed(drawn_seed(data.seed, step, ranks.rank))
            losses = trained(*inputs)
            if config.devices.compile:
                # while the device works: a thread beside one that launches kernel by kernel only
                # takes Python from it (a step of views on an H100: 8.6 ms in place of 6.7)
                learning.begin(batch.pcm, (data.seed, step + 1))
            fabric.backward(losses[TOTAL])
            stepper.step()
            stepper.zero_grad()
            fault.note(step, losses[TOTAL])

            done = step + 1
            signalled = ranks.highest(max(stop, default=0))
            at_end = done == optimisation.steps
            log_now = done % output.log_every == 0 or at_end
            validate_now = validates and done % optimisation.validate_every == 0
            save_now = done % output.checkpoint_every == 0 or at_end or signalled
            save_now = save_now or done in output.kept_steps
            note = ""
            if log_now or validate_now or save_now:
                faulty = fault.step(ranks)
                if faulty is not None:
                    batch = next(stream.batches(faulty))
                    inputs = learning.inputs(batch.pcm, (data.seed, faulty), batch.cut)
                    finite = learning.finite(inputs)
                    ranks.fail(explain(out, faulty, batch.keys, finite, ranks))
            if log_now:
                values = ranks.mean({name: float(x.detach()) for name, x in losses.items()})
                now_s = time.monotonic()
                steps_per_s = (done - logged) / (now_s - logged_s)
                rates = {
                    "clips_per_s": steps_per_s * data.batch,
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
                        measures = learning.validate(validation.batches)
                measures = ranks.from_first(measures)
                better = early.update(measures[TOTAL], optimisation.min_delta)
                with ranks.together():
                    if log is not None:
                        log.write_validation(done, measures)
                    if better and ranks.is_first:
                        save(done, best=True)
                for name, spread in measures.items():
                    if name.endswith(".spread") and spread < COLLAPSED and ranks.is_first:
                        warnings.warn(
                            f"the embeddings have collapsed: {name} {spread:.3f} of 1; try a "
                            "smaller --lr",
                            stacklevel=2,
                        )
                note = f"validation {measures[TOTAL]:.3f}"
            if progress is not None:
                progress.advance(note=note)
            if save_now or early.waited >= optimisation.patience:
                with ranks.together():
                    if ranks.is_first:
                        save(done)
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
            say(f"report: {write_report(out, config, learning, fabric.device)}")
            page = learning.show(out)
            if page is not None:
                say(f"to hear: {page}")
    return last


def drawn_seed(seed: int, step: int, rank: int) -> int:
    """The seed of what the network draws in a step; another one than that of the views."""
    # a 0 at the end would be no difference to (seed, step)
    state = np.random.SeedSequence((seed, step, 1 + rank)).generate_state(1, np.uint64)
    return int(state[0])


@rank_zero_only
def say(words: str) -> None:
    """Tells the user, on stderr; of several processes only the first does."""
    sys.stderr.write(f"train: {words}\n")


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
