"""One file for each data set; the command `ingest NAME` comes from this registry."""

from ingest.evaluation_set import EvaluationSet
from ingest.recipe import Recipe
from ingest.recipes.accents import Accents
from ingest.recipes.audioset import AudioSet
from ingest.recipes.birdclef import BirdCLEF
from ingest.recipes.commonvoice import CommonVoice
from ingest.recipes.cremad import CREMAD
from ingest.recipes.demo import Demo
from ingest.recipes.esc50 import ESC50
from ingest.recipes.folder import Folder
from ingest.recipes.fsdkaggle18 import FSDKaggle18
from ingest.recipes.nsynth import NSynth
from ingest.recipes.speechcommands import SpeechCommands
from ingest.recipes.voxceleb1 import VoxCeleb1
from ingest.recipes.watkins import Watkins

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
    "folder": Folder,
    "audioset": AudioSet,
    **EVALUATION_SETS,
}
