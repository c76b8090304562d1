"""One file for each data set; the command `ingest NAME` comes from this registry."""

from slvr.ingest.archives.evaluation_set import EvaluationSet
from slvr.ingest.recipe import Recipe
from slvr.ingest.recipes.accents import Accents
from slvr.ingest.recipes.audioset import AudioSet
from slvr.ingest.recipes.birdclef import BirdCLEF
from slvr.ingest.recipes.commonvoice import CommonVoice
from slvr.ingest.recipes.cremad import CREMAD
from slvr.ingest.recipes.demo import Demo
from slvr.ingest.recipes.demo_sources import DemoSources
from slvr.ingest.recipes.esc50 import ESC50
from slvr.ingest.recipes.folder import Folder
from slvr.ingest.recipes.fsd50k import FSD50K
from slvr.ingest.recipes.fsdkaggle18 import FSDKaggle18
from slvr.ingest.recipes.hear import Hear
from slvr.ingest.recipes.nsynth import NSynth
from slvr.ingest.recipes.speechcommands import SpeechCommands
from slvr.ingest.recipes.voxceleb1 import VoxCeleb1
from slvr.ingest.recipes.watkins import Watkins

EVALUATION_SETS: dict[str, type[EvaluationSet]] = {
    data_set.NAME: data_set
    for data_set in (
        *(ESC50, NSynth, FSDKaggle18, Watkins, BirdCLEF, VoxCeleb1, SpeechCommands, CREMAD),
        *(Accents, CommonVoice),
    )
}
"""In the order of the benchmark's tables."""

RECIPES: dict[str, type[Recipe]] = {
    "demo": Demo,
    "demo-sources": DemoSources,
    "folder": Folder,
    "audioset": AudioSet,
    "fsd50k": FSD50K,
    "hear": Hear,
    **EVALUATION_SETS,
}
