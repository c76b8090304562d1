"""One file for each data set; the command `ingest NAME` comes from this registry."""

from ingest.recipe import Recipe
from ingest.recipes.audioset import AudioSet
from ingest.recipes.demo import Demo
from ingest.recipes.folder import Folder

RECIPES: dict[str, type[Recipe]] = {"demo": Demo, "folder": Folder, "audioset": AudioSet}
