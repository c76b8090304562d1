"""One encoder trained for several objectives at once, each on the embedding of a task.

Letters: V views, B clips, C channels, F bands, L frames.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from slvr.model.encoders.contract import Embedded, Encoder
from slvr.model.objectives.contract import Known, Objective

TOTAL = "total"


@dataclass(frozen=True)
class Head:
    """An objective of a learner.

    Attributes:
        objective: untrained or trained.
        task: of the encoder, whose embedding it gets.
        weights: term -> its weight in the total; 1 where nothing is said.
    """

    objective: Objective
    task: str
    weights: Mapping[str, float] = field(default_factory=dict)


class Learner(nn.Module):
    """`learner(views, known)`: views of each clip -> losses: `total` and each `name.term`.

    total = sum over heads and terms of weight * loss.

    Args:
        encoder: gives each objective the embedding of its task.
        heads: by name, which is theirs in the state dict and in the log.
        knows: what the view maker knows of the views.
        n_views: how many views of a clip it makes, V.

    Raises:
        ValueError: no objective, or one that does not fit; see `check_head`.
    """

    def __init__(
        self,
        encoder: Encoder,
        heads: Mapping[str, Head],
        knows: Collection[str],
        n_views: int = 2,
    ) -> None:
        super().__init__()
        if not heads:
            raise ValueError("nothing to train: name an objective with --objectives")
        for name, head in heads.items():
            check_head(name, head.objective, head.task, head.weights, encoder, knows, n_views)
        self.encoder = encoder
        self.heads = nn.ModuleDict({name: head.objective for name, head in heads.items()})
        self._tasks = {name: head.task for name, head in heads.items()}
        self._weights = {
            f"{name}.{term}": head.weights.get(term, 1.0)
            for name, head in heads.items()
            for term in head.objective.terms
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the losses: the columns of the log."""
        return (TOTAL, *self._weights)

    @property
    def trained_tasks(self) -> tuple[str, ...]:
        """The tasks of the encoder that an objective looks at, each once."""
        return tuple(dict.fromkeys(self._tasks.values()))

    def needs(self, name: str) -> frozenset[str]:
        """What the objective of a head must know of the views."""
        needs: frozenset[str] = self.heads.get_submodule(name).needs  # type: ignore[assignment]
        return needs

    def forward(self, views: Tensor, known: Known) -> dict[str, Tensor]:
        """The losses of a batch, scalars by name.

        Args:
            views: (V, B, C, F, L) features; row i of every view comes from the same clip.
            known: what is known of the views.
        """
        return self.losses(self.embed(views), known)

    def embed(self, views: Tensor) -> dict[str, Embedded]:
        """The embeddings of views for the tasks that are trained, by task.

        Raises:
            ValueError: the encoder gives others than its `dims` say.
        """
        h = self.encoder.embed(views, self.trained_tasks)
        for task, embedded in h.items():
            expected = (*views.shape[:2], self.encoder.dims[task])
            if tuple(embedded.clips.shape) != expected:
                raise ValueError(
                    f"encoder {self.encoder.NAME}: gives {tuple(embedded.clips.shape)} for task "
                    f"{task!r} of {len(views)} views, expected (V, B, D) = {expected}"
                )
        return h

    def losses(self, h: Mapping[str, Embedded], known: Known) -> dict[str, Tensor]:
        """The losses of embedded views; see `forward`.

        Raises:
            ValueError: an objective gives other terms than it declares, or no scalars.
        """
        found: dict[str, Tensor] = {}
        for name, objective in self.heads.items():
            for term, loss in objective(h[self._tasks[name]], known).items():
                found[f"{name}.{term}"] = loss
        if found.keys() != self._weights.keys():
            raise ValueError(
                f"the objectives give {', '.join(found) or 'no terms'}, and declare "
                f"{', '.join(self._weights)}: return every one of `terms`"
            )
        for name, loss in found.items():
            if not isinstance(loss, Tensor) or loss.ndim:
                shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
                raise ValueError(f"{name}: gives {shape}, expected the mean loss, a scalar tensor")
        total = sum(self._weights[name] * loss for name, loss in found.items())
        assert isinstance(total, Tensor)
        return {TOTAL: total, **found}

    @torch.no_grad()
    def measures(self, h: Mapping[str, Embedded], known: Known) -> dict[str, float]:
        """What validation shows besides the losses, as `name.measure`."""
        return {
            f"{name}.{measure}": value
            for name, objective in self.heads.items()
            if isinstance(objective, Objective)
            for measure, value in objective.measures(h[self._tasks[name]], known).items()
        }


def check_head(
    name: str,
    objective: Objective | type[Objective],
    task: str,
    weights: Mapping[str, float],
    encoder: Encoder,
    knows: Collection[str],
    n_views: int = 2,
) -> None:
    """Refuses an objective that does not fit encoder and views; its class says enough for that.

    Raises:
        ValueError: it needs what the views do not know, more views, frames that the encoder does
            not give, or a task that it has not; or weighs a term that is not there.
    """
    if objective.n_views > n_views:
        raise ValueError(
            f"objective {name} looks at {objective.n_views} views of a clip, and there are "
            f"{n_views}: choose other --views or --objectives"
        )
    missing = sorted(objective.needs - set(knows))
    if missing:
        raise ValueError(
            f"objective {name} needs {', '.join(missing)}, which these views do not know; they "
            f"know {', '.join(sorted(knows)) or 'nothing'}: choose other --views or --objectives"
        )
    if objective.uses_frames and encoder.frame_stride is None:
        raise ValueError(
            f"objective {name} looks at frames, and encoder {encoder.NAME} gives none; choose "
            "another --encoder"
        )
    if task not in encoder.dims:
        raise ValueError(
            f"objective {name}: encoder {encoder.NAME} has no task {task!r}; expected {name}@TASK "
            f"with one of {', '.join(encoder.dims)}"
        )
    strange = sorted(set(weights) - set(objective.terms))
    if strange:
        raise ValueError(
            f"objective {name} has no term {', '.join(strange)} to weigh; its terms are "
            f"{', '.join(objective.terms)}"
        )
