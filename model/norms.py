"""Batch norms that tell the views in a batch apart, and can look at the batches of all processes.

Shapes: B clips, V views, C channels, P processes, ... the places that share a channel's statistics.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slvr.model.gather import gathered, processes


class Passes(NamedTuple):
    """The passes that one call stands for: view after view, and that again in every round."""

    views: int = 1
    rounds: int = 1


ONE = Passes()


class ViewNorm(_BatchNorm):
    """(V*B, C, ...) -> the same, each view normalised by itself; one view after the other in both.

    In training mode outputs, gradients and running statistics are those of a plain batch norm that
    takes the views in separate passes, as `Passes` says. Parameters and buffers have its names.

    Attributes:
        synchronised: each view's statistics are taken over the batches of all processes.
    """

    synchronised = False

    def forward(self, x: Tensor, passes: Passes = ONE) -> Tensor:
        """The normalised views."""
        if not self.training:
            return super().forward(x)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += passes.views * passes.rounds
        if self.synchronised and processes() > 1:
            return self._over_all_processes(x, passes)
        normed = [
            F.batch_norm(
                view,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                training=True,
                momentum=momentum,
                eps=self.eps,
            )
            for view, momentum in zip(x.chunk(passes.views), self._momenta(passes), strict=True)
        ]
        return torch.cat(normed) if passes.views > 1 else normed[0]

    def _over_all_processes(self, x: Tensor, passes: Passes) -> Tensor:
        """The normalised views of this process.

        With mean m_p, variance v_p and count n_p of each process, and N the sum of the counts:
        m = sum n_p m_p / N, v = sum n_p (v_p + (m_p - m)^2) / N. No difference of large squares.
        """
        views = x.reshape(passes.views, -1, *x.shape[1:])  # (V, B, C, ...)
        views = views.to(torch.promote_types(x.dtype, torch.float32))
        places = [1, *range(3, views.ndim)]
        var, mean = torch.var_mean(views, places, correction=0)  # (V, C)
        count = torch.full_like(mean, views[0, :, 0].numel())
        means, variances, counts = gathered(torch.stack([mean, var, count])).unbind(1)
        n = counts.sum(0)
        mean = (counts * means).sum(0) / n
        var = (counts * (variances + (means - mean).square())).sum(0) / n
        self._move(mean.detach(), (var * n / (n - 1)).detach(), passes)

        scale = self.weight * (var + self.eps).rsqrt()
        shift = self.bias - mean * scale
        per_channel = (passes.views, 1, -1, *[1] * (x.ndim - 2))
        normed = torch.addcmul(shift.view(per_channel), views, scale.view(per_channel))
        return normed.flatten(0, 1).to(x.dtype)

    def _move(self, means: Tensor, variances: Tensor, passes: Passes) -> None:
        """Move the running statistics towards those of each view, (V, C)."""
        assert self.running_mean is not None
        assert self.running_var is not None
        for mean, var, momentum in zip(means, variances, self._momenta(passes), strict=True):
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
            self.running_var.lerp_(var.to(self.running_var.dtype), momentum)

    def _momenta(self, passes: Passes) -> list[float]:
        """The momentum for each view with which one round does what all of them would.

        A pass moves a running statistic r <- (1-m) r + m s. After R rounds of V views the last
        view's s has the share m (1 + (1-m)^V + ... + (1-m)^(V(R-1))), each view before it 1-m
        times as much as the next.
        """
        m = self.momentum
        assert m is not None, "a cumulative average has no momentum"
        share = m * sum((1 - m) ** (passes.views * r) for r in range(passes.rounds))
        momenta, left = [], 1.0
        for _ in range(passes.views):
            momenta.append(share / left)
            left -= share
            share *= 1 - m
        return momenta[::-1]

    def _check_input_dim(self, input: Tensor) -> None:  # any number of dimensions
        pass


def synchronise(model: nn.Module) -> None:
    """Makes every batch norm of a model take its statistics over all processes, in training mode.

    The processes are those of `torch.distributed` at the time of the pass; while there is one,
    nothing changes. Gradients flow through the statistics: with a loss that is a mean over the
    process's rows, the mean of the processes' gradients is that of one process with all rows.
    Parameters and buffers stay the same objects under the same names.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, ViewNorm):
                child.synchronised = True
            elif isinstance(child, _BatchNorm):
                parent.register_module(name, _synchronised(child))


def _synchronised(norm: _BatchNorm) -> ViewNorm:
    with torch.device("meta"):
        same = ViewNorm(norm.num_features, norm.eps, norm.momentum)
    same._parameters, same._buffers = norm._parameters, norm._buffers
    same.synchronised = True
    return same.train(norm.training)
