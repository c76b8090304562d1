"""What a model is compared with: the same network untrained, and features that need no learning."""

import sys
from collections.abc import Sequence

import torch

from slvr.eval.calibrate import N_CLIPS, TrainingClips, batch_norms, calibrate, training_clips
from slvr.eval.config import Compared, Models
from slvr.eval.embedders import MEL_STATISTICS, MelStatistics, encoder_embedder
from slvr.eval.models import EvaluatedModel
from slvr.eval.protocol import PROTOCOLS


def with_baselines(
    models: Sequence[EvaluatedModel], config: Compared, device: torch.device
) -> list[EvaluatedModel]:
    """The models, then what they are compared with; the models alone with `--no-baselines`."""
    if not config.baselines:
        return list(models)
    return [*models, *untrained(models, config, device), *mel_statistics(config, device)]


def mel_statistics(config: Models, device: torch.device) -> list[EvaluatedModel]:
    """Statistics over time of log-mel spectra and of MFCCs."""
    how = PROTOCOLS[config.protocol].normalisation("none")
    return [
        EvaluatedModel(MelStatistics(name, how, device), how, baseline=True)
        for name in MEL_STATISTICS
    ]


def untrained(
    models: Sequence[EvaluatedModel], config: Compared, device: torch.device
) -> list[EvaluatedModel]:
    """The networks of the models with fresh weights, batch norms calibrated where that can be.

    Models of one shape that were trained on the same clips share one. Where the clips are not here
    a sentence says so, on stderr and as a remark, and the network is named as what it is.
    """
    made: dict[tuple[str, str], EvaluatedModel] = {}
    for model in models:
        if model.trained is None:
            continue
        plain = _fresh(model, None, config, device)
        shape = plain.embedder.fingerprint
        clips: TrainingClips | None = None
        if batch_norms(model.trained.encoder):
            try:
                clips = training_clips(model.path, model.trained, config.calibrate_on)
            except ValueError as error:
                made.setdefault((shape, ""), _explained(plain, str(error)))
                continue
        if clips is None:  # nothing to calibrate
            made.setdefault((shape, ""), plain)
        elif (shape, clips.name) not in made:
            made[shape, clips.name] = _fresh(model, clips, config, device)
        if clips is not None and config.uncalibrated:
            made.setdefault((shape, ""), plain)
    return list(made.values())


def _fresh(
    model: EvaluatedModel, clips: TrainingClips | None, config: Models, device: torch.device
) -> EvaluatedModel:
    """The network of a model with fresh weights, calibrated on clips where they are given."""
    trained = model.trained
    assert trained is not None
    encoder = trained.encoder.untrained(config.seed)
    name, remark = model.fresh_name, ""
    if clips is not None:
        calibrate(encoder, trained.front_end, clips, config.batch, config.seed, device)
        n = min(N_CLIPS, len(clips.directory.clips(clips.split)))
        of = f"{clips.directory.name}, split {clips.split}"
        remark = f"{name}: fresh weights, batch norms calibrated on {n} clips of {of}."
    elif batch_norms(encoder):
        name += ", uncalibrated"
    how = model.waveforms
    embedder = encoder_embedder(name, encoder, trained.front_end, how, device)
    return EvaluatedModel(embedder, how, baseline=True, remark=remark)


def _explained(plain: EvaluatedModel, why: str) -> EvaluatedModel:
    remark = (
        f"{plain.name}: its batch norms have seen nothing, because {why}; give --calibrate-on "
        "SHARDS, and much of the distance to a trained network may go."
    )
    sys.stderr.write(f"evaluate: {remark}\n")
    return EvaluatedModel(plain.embedder, plain.waveforms, baseline=True, remark=remark)
