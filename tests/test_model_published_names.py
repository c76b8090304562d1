"""Names and shapes of the published models, and the statistics that a training pass moves.

`data/published_names.json` holds our own, so that they are held here without the original's;
`python tests/test_model_published_names.py` makes it anew, only where the original's are at hand
and say the same.
"""

import json
import sys
from pathlib import Path

import pytest
import torch

from slvr.model.encoders.resnet18 import VARIANTS, ResNet18
from slvr.model.learner import Head, Learner
from slvr.model.objectives.mlap import MLAP
from slvr.model.objectives.simclr import SimCLR
from slvr.model.objectives.simsiam import SimSiam
from slvr.model.released import published_names

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures"
NAMES = Path(__file__).parent / "data" / "published_names.json"
CONTRASTIVE = {"simclrv1": SimCLR, "simsiam": SimSiam}


def shapes(module):
    tensors = module.state_dict()
    return {theirs: list(tensors[ours].shape) for ours, theirs in published_names(module).items()}


def joint(contrastive, variant):
    encoder = ResNet18(variant)
    objective = CONTRASTIVE[contrastive](encoder.dims["contrastive"])
    heads = {
        objective.NAME: Head(objective, "contrastive"),
        "mlap": Head(MLAP(encoder.dims["predictive"], tuple("abcdefg")), "predictive"),
    }
    return Learner(encoder, heads, {"labels"})


def tasks(variant):
    return ("all",) if variant == "none" else ("contrastive", "predictive")


def moved_statistics(variant, task):
    """Published names of the norms that a training pass moves -> how often."""
    encoder = ResNet18(variant, dim=4, width=4)
    encoder(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), task)
    tensors = encoder.state_dict()
    counts = {
        theirs: int(tensors[ours])
        for ours, theirs in published_names(encoder).items()
        if "num_batches_tracked" in ours
    }
    return {name: count for name, count in counts.items() if count}


def ours():
    with torch.device("meta"):
        encoders = {variant: shapes(ResNet18(variant)) for variant in VARIANTS}
        joints = {
            f"{contrastive} {variant}": shapes(joint(contrastive, variant))
            for contrastive in CONTRASTIVE
            for variant in VARIANTS
        }
    heads = {
        name: {key: shape for key, shape in of_joint.items() if not key.startswith("backbone.")}
        for name, of_joint in joints.items()
    }
    moved = {
        f"{variant} {task}": moved_statistics(variant, task)
        for variant in VARIANTS
        for task in tasks(variant)
    }
    return {"encoders": encoders, "heads": heads, "moved": moved}


def theirs():
    """The same of the original implementation."""
    listed = json.loads((FIXTURES / "state_dict_keys.json").read_text())
    framework = json.loads((FIXTURES / "losses_framework_keys_gradnorms.json").read_text())
    heads = {
        name.replace("_trans_", " ").replace("None", "none"): {
            key: shape for key, shape in keys.items() if not key.startswith("backbone.")
        }
        for name, keys in framework["framework_state_dict_keys"].items()
    }
    touched = listed["bn_touched_by_one_train_forward"]
    of_theirs = {"all": "single", "contrastive": "task0", "predictive": "task1"}
    moved = {
        f"{variant} {task}": touched[f"{variant}/{of_theirs[task]}/bn_touched"]
        for variant in VARIANTS
        for task in tasks(variant)
    }
    encoders = {variant: listed["variants"][variant]["keys"] for variant in VARIANTS}
    return {"encoders": encoders, "heads": heads, "moved": moved}


def test_names_shapes_and_moved_statistics_are_the_published_ones():
    stored = json.loads(NAMES.read_text())
    assert ours() == stored


@pytest.mark.skipif(
    not FIXTURES.exists(), reason="the original implementation's names are not in this clone"
)
def test_the_stored_names_are_those_of_the_original():
    assert json.loads(NAMES.read_text()) == theirs()


if __name__ == "__main__":
    made = ours()
    if made != theirs():
        sys.exit("not made anew: the original has other names")
    NAMES.write_text(json.dumps(made, separators=(",", ":")) + "\n")
