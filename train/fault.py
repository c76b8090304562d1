"""A loss that is not finite: at which step it was first so, and by which clips.

Letters: B clips of this process.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from slvr.train.ranks import Ranks
from slvr.train.state import last_good

NEVER = 2**62


class FirstFault:
    """The first step whose loss was not finite, kept on the device: `note` waits for nothing."""

    def __init__(self, device: torch.device) -> None:
        self._step = torch.tensor(NEVER, device=device)

    def note(self, step: int, loss: Tensor) -> None:
        """Takes in the loss of a step."""
        self._step = self._step.clamp(max=torch.where(loss.detach().isfinite(), NEVER, step))

    def step(self, ranks: Ranks) -> int | None:
        """The first faulty step of all processes, if there is one."""
        first = min(ranks.gather(int(self._step)))
        return None if first == NEVER else first


def explain(out: Path, step: int, keys: Sequence[str], finite: Tensor, ranks: Ranks) -> ValueError:
    """The sentence on a faulty step; called by all processes.

    Args:
        out: the run.
        step: from 0.
        keys: B, of this process's clips of that step.
        finite: (B,) whether the features of this process's clips of that step are.
        ranks: the processes.
    """
    parts = ranks.gather((list(keys), finite.tolist()))
    faulty = [not fine for _, rows in parts for fine in rows]
    everyone = [key for known, _ in parts for key in known]
    blamed = [key for key, bad in zip(everyone, faulty, strict=True) if bad or not any(faulty)]
    names = ", ".join(dict.fromkeys(blamed))
    if any(faulty):
        why = f"nor are the features of {sum(faulty)} of its clips ({names}): leave them out"
    else:
        why = f"the features of its clips are ({names}), so it diverged: try a smaller --lr"
    return ValueError(f"{out}: the loss at step {step + 1} is not finite; {why}; {last_good(out)}")
