"""The embedded demo corpus: sounds synthesised from a seed, a named class each.

The training and the evaluation classes are disjoint but related: both hold instruments, voices,
animals, weather, household sounds, machines and signals.
"""

import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from slvr.ingest.synthesis import animals, instruments, machines, percussion, surroundings, voices
from slvr.ingest.synthesis.room import record
from slvr.ingest.synthesis.sources import Scene, Signal

SoundClass = Callable[[Scene], Signal]

_TRAINING: tuple[SoundClass, ...] = (
    instruments.violin,
    instruments.trumpet,
    instruments.flute,
    instruments.accordion,
    instruments.theremin,
    instruments.didgeridoo,
    instruments.acoustic_guitar,
    instruments.banjo,
    percussion.piano,
    percussion.xylophone,
    percussion.wind_chimes,
    percussion.gong,
    percussion.snare_drum,
    voices.speech,
    voices.singing,
    voices.cough,
    voices.whistling,
    voices.applause,
    animals.songbird,
    animals.cricket,
    animals.dog_bark,
    animals.crow,
    surroundings.rain,
    surroundings.wind,
    surroundings.thunder,
    surroundings.stream,
    surroundings.footsteps,
    surroundings.clock_tick,
    surroundings.keyboard_typing,
    machines.engine,
    machines.train,
    machines.siren,
    machines.frequency_sweep,
    machines.car_horn,
    machines.alarm_clock,
)
_EVALUATION: tuple[SoundClass, ...] = (
    instruments.clarinet,
    instruments.pipe_organ,
    instruments.bagpipes,
    instruments.harp,
    percussion.church_bell,
    percussion.tabla,
    percussion.maraca,
    voices.baby_cry,
    voices.laughter,
    animals.owl,
    animals.cicada,
    animals.cat_meow,
    animals.frog,
    animals.woodpecker,
    surroundings.sea_waves,
    surroundings.crackling_fire,
    surroundings.water_drops,
    surroundings.door_knock,
    surroundings.door_creak,
    surroundings.hand_saw,
    machines.helicopter,
    machines.telephone_ring,
    machines.morse_code,
    machines.radio_static,
)

SOUND_CLASSES: dict[str, SoundClass] = {
    sound.__name__: sound for sound in (*_TRAINING, *_EVALUATION)
}
TRAINING_CLASSES: tuple[str, ...] = tuple(sound.__name__ for sound in _TRAINING)
EVALUATION_CLASSES: tuple[str, ...] = tuple(sound.__name__ for sound in _EVALUATION)
SHORTEST_S = 0.5
LOWEST_SAMPLE_RATE_HZ = 16000


def synthesise(
    class_name: str, seed: int, duration_s: float, sample_rate_hz: int = 16000
) -> npt.NDArray[np.float32]:
    """One clip of a sound class: (T,) float32 in (-1, 1), T = round(duration_s * sample_rate_hz).

    Pitch, tempo, timbre, room, background and level are all drawn; the same arguments give the
    same samples.

    Args:
        class_name: a key of `SOUND_CLASSES`.
        seed: not negative; names the example within its class.
        duration_s: at least `SHORTEST_S`.
        sample_rate_hz: at least `LOWEST_SAMPLE_RATE_HZ`, for which the registers are made.

    Raises:
        ValueError: an unknown class, a duration too short for an event, a rate too low.
    """
    if class_name not in SOUND_CLASSES:
        known = ", ".join(sorted(SOUND_CLASSES))
        raise ValueError(f"unknown sound class {class_name!r}; choose one of: {known}")
    if duration_s < SHORTEST_S:
        raise ValueError(f"duration_s is {duration_s}; a clip must last at least {SHORTEST_S} s")
    if sample_rate_hz < LOWEST_SAMPLE_RATE_HZ:
        raise ValueError(
            f"sample_rate_hz is {sample_rate_hz}; it must be at least {LOWEST_SAMPLE_RATE_HZ} Hz:"
            " synthesise at that rate and resample"
        )
    # crc32, because Python salts hash() anew in every process
    rng = np.random.default_rng([zlib.crc32(class_name.encode()), seed])
    scene = Scene(rng, duration_s, sample_rate_hz)
    return record(scene, SOUND_CLASSES[class_name](scene))
