"""What is drawn for views of separated channels: separator, channel, crop.

Letters: V = 2 views, B clips, M channels.
"""

import json
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slvr.pipeline.views.contract import Clips, Step
from slvr.shards.clip import SAMPLE_RATE_HZ

N_VIEWS = 2


@dataclass(frozen=True)
class ChannelPlan:
    """Everything that decides the views of B clips, apart from the clips.

    Attributes:
        separators: names of those that were drawn from, with a hash of what each does.
        channel_views: the views that are channels: none, (1,) or (0, 1).
        separator: (B,) int64 on the host, indices into `separators`; 0 where no view is a channel.
        order: (B, M) int64 on the host: the channels in the order in which they are taken, those
            after the first where one before is too quiet; -1 behind the last of the separator's.
        starts: (V, B) int64 on the host: the first sample of each crop.
        crop_samples: length of a crop.
        device: of the clips.
        clips: which they are, where that is known.
    """

    separators: tuple[tuple[str, str], ...]
    channel_views: tuple[int, ...]
    separator: Tensor
    order: Tensor
    starts: Tensor
    crop_samples: int
    device: torch.device
    clips: Clips | None = None

    def __len__(self) -> int:
        """The number of clips B."""
        return len(self.separator)

    @property
    def channels(self) -> Tensor:
        """(V, B) int64: the channel that is drawn for each view, -1 for the mixture."""
        channels = torch.full((N_VIEWS, len(self)), -1)
        for place, view in enumerate(self.channel_views):
            channels[view] = self.order[:, place]
        return channels

    def rows(self, first: int, last: int) -> "ChannelPlan":
        """The plan of the clips first to last - 1 alone."""
        clips = None
        if self.clips is not None:
            keys, *numbers = self.clips
            clips = Clips(keys[first:last], *(each[first:last] for each in numbers))
        return replace(
            self,
            separator=self.separator[first:last],
            order=self.order[first:last],
            starts=self.starts[:, first:last],
            clips=clips,
        )

    def describe(self, clip: int) -> list[Step]:
        """Separator, channel and crop of one clip for a person to read."""
        steps = []
        if self.channel_views:
            name, _ = self.separators[int(self.separator[clip])]
            drawn = self.channels[:, clip].tolist()
            channels: list[dict[str, float | list[float]]] = [
                {} if m < 0 else {"channel": m} for m in drawn
            ]
            steps = [Step(f"separated by {name}", channels)]
        crops: list[dict[str, float | list[float]]] = [
            {
                "start_s": int(start) / SAMPLE_RATE_HZ,
                "length_s": self.crop_samples / SAMPLE_RATE_HZ,
            }
            for start in self.starts[:, clip]
        ]
        return [*steps, Step("crop", crops)]

    def to_json(self) -> str:
        """A text from which `from_json` restores the plan to the bit."""
        stored = {
            "separators": self.separators,
            "channel_views": self.channel_views,
            "separator": self.separator.tolist(),
            "order": self.order.tolist(),
            "starts": self.starts.tolist(),
            "crop_samples": self.crop_samples,
        }
        if self.clips is not None:
            keys, *numbers = self.clips
            stored["clips"] = [keys, *(each.tolist() for each in numbers)]
        return json.dumps(stored)

    @classmethod
    def from_json(cls, text: str, device: torch.device | str = "cpu") -> "ChannelPlan":
        """The plan that `to_json` wrote, on any device."""
        stored = json.loads(text)
        clips = None
        if "clips" in stored:
            keys, starts, mean, scale = stored["clips"]
            clips = Clips(
                tuple(keys),
                torch.tensor(starts, dtype=torch.int64),
                torch.tensor(mean, device=device),
                torch.tensor(scale, device=device),
            )
        return cls(
            tuple((name, fingerprint) for name, fingerprint in stored["separators"]),
            tuple(stored["channel_views"]),
            torch.tensor(stored["separator"], dtype=torch.int64),
            torch.tensor(stored["order"], dtype=torch.int64).view(len(stored["separator"]), -1),
            torch.tensor(stored["starts"], dtype=torch.int64),
            stored["crop_samples"],
            torch.device(device),
            clips,
        )
