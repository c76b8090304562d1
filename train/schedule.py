"""The learning rate of each step."""

import math

PUBLISHED_PERIOD = 2000
"""Steps from one maximum to the next: a cosine with T_max 1,000 that is stepped on."""
WARM_UP = 0.02
"""Share of the run that the cosine schedule rises."""


def learning_rate(schedule: str, step: int, steps: int, peak: float) -> float:
    """The rate for step 0 <= step < steps.

    `cosine`: linear warm-up over the first 2 %, then `peak * (1 + cos(pi t)) / 2` down to 0.
    `published`: `peak * (1 + cos(2 pi step / 2000)) / 2`, again and again (MT-SLVR's code).
    `constant`: `peak`.
    """
    if schedule == "constant":
        return peak
    if schedule == "published":
        return peak * (1 + math.cos(2 * math.pi * step / PUBLISHED_PERIOD)) / 2
    assert schedule == "cosine", schedule
    rising = max(round(WARM_UP * steps), 1)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1))) / 2
