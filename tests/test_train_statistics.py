"""Statistics of a front end: taken from the training clips alone, once, and kept."""

import shutil

import torch

from conftest import configured
from slvr.eval.loaded import open_trained
from slvr.model.checkpoint import checkpoints, read_checkpoint
from slvr.pipeline.frontends.logmel import LogMel
from slvr.pipeline.normalise import normalise, to_float
from slvr.train.config import Data
from slvr.train.loop import train
from slvr.train.validation import trained_on

OPTIONS = {
    "front_end.name": "logmel",
    "front_end.statistics": "bands",
    "objectives.heads": ["simclr"],
    "encoder.variant": "none",
    "encoder.width": 8,
    "encoder.dim": 8,
    "normalise": "none",
    "clip_s": 0.2,
    "holdout": 0.4,
    "validate_every": 2,
    "batch": 4,
    "steps": 4,
    "checkpoint_every": 2,
    "workers": 0,
    "accelerator": "cpu",
}


def weights(out):
    return read_checkpoint(checkpoints(out)[-1])[0]


def test_a_run_takes_them_keeps_them_says_them_and_goes_on_with_them(
    make_directory, tmp_path, capsys
):
    directory = make_directory(n_clips=20, lengths_s=(0.2,))
    whole, again = tmp_path / "whole", tmp_path / "again"
    config = configured(directory.path, **OPTIONS)
    train(config, whole)

    data: Data = config.data
    keep = trained_on(data, directory)
    clips = directory.dataset("train", keep)
    pcm = torch.stack([torch.from_numpy(clips[i]) for i in range(len(clips))])
    raw = LogMel(n_mels=64)(normalise(to_float(pcm), "none")).double()
    front_end = open_trained(whole).front_end
    assert isinstance(front_end, LogMel) and front_end.mean is not None
    # whole batches of four: not every clip has to be among them
    assert (front_end.mean.double() - raw.mean((0, 1, 3))[:, None]).abs().max() < 0.5
    exact = LogMel(n_mels=64, statistics="bands")
    exact.fit([to_float(pcm)])
    assert abs(float(front_end.deviation.mean() / exact.deviation.mean()) - 1) < 0.05
    assert front_end.found in capsys.readouterr().err
    assert front_end.found in (whole / "report.html").read_text()

    shutil.copytree(whole, again)
    for path in checkpoints(again)[1:]:
        path.unlink()
    train(configured(directory.path, **OPTIONS, resume=True), again)
    first, second = weights(whole), weights(again)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert open_trained(again).front_end.shape() == front_end.shape()
