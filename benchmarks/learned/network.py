"""EfficientNet-B1 (Tan & Le 2019, arXiv:1905.11946) on two frames, and the motion that its six outputs mean."""

import math

import torch
from torch import nn

# expansion, channels, blocks, stride, kernel of each stage of B0; B1 is 1.1 times as deep, and as wide.
STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
          (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))
DEPTH, STEM, HEAD = 1.1, 32, 1280
DROPOUT, DROP_BLOCK, SQUEEZE = 0.2, 0.2, 4


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    """Convolution, batch norm, and SiLU where wanted."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
                               nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.SiLU(inplace=True)] if act else []))


class Squeeze(nn.Module):
    """Channels weighed by what their means say."""

    def __init__(self, channels: int, narrow: int):
        super().__init__()
        self.weigh = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, narrow, 1), nn.SiLU(inplace=True),
                                   nn.Conv2d(narrow, channels, 1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weigh(x)


class Block(nn.Module):
    """Inverted bottleneck, left out at random while training."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, kernel: int, drop: float):
        super().__init__()
        wide = inputs * expansion
        self.body = nn.Sequential(
            *([conv(inputs, wide, 1)] if expansion > 1 else []), conv(wide, wide, kernel, stride, wide),
            Squeeze(wide, max(1, inputs // SQUEEZE)), conv(wide, outputs, 1, act=False))
        self.residual, self.drop = stride == 1 and inputs == outputs, drop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        if not self.residual:
            return y
        if self.training and self.drop:
            keep = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop
            y = y * keep / (1 - self.drop)
        return x + y


class EfficientNetB1(nn.Module):
    """[B, inputs, rows, columns] -> [B, outputs]."""

    def __init__(self, inputs: int = 2, outputs: int = 6):
        super().__init__()
        blocks: list[nn.Module] = []
        total = sum(math.ceil(DEPTH * repeats) for _, _, repeats, _, _ in STAGES)
        channels = STEM
        for expansion, wanted, repeats, stride, kernel in STAGES:
            for k in range(math.ceil(DEPTH * repeats)):
                blocks.append(Block(channels, wanted, expansion, stride if k == 0 else 1, kernel,
                                    DROP_BLOCK * len(blocks) / total))
                channels = wanted
        self.features = nn.Sequential(conv(inputs, STEM, 3, 2), *blocks, conv(channels, HEAD, 1))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(DROPOUT), nn.Linear(HEAD, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


def pair_network() -> EfficientNetB1:
    """The network of the baseline; it starts with "nothing moves" (ours: the published one starts at random)."""
    network = EfficientNetB1()
    last = network.head[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return network


def poses(parameters: torch.Tensor) -> torch.Tensor:
    """T_prev_frame [B, 4, 4] of six parameters [B, 6]: Euler angles Z, Y, X (rad), translation (mm)."""
    angles = parameters[:, :3]
    (cz, cy, cx), (sz, sy, sx) = torch.cos(angles).T, torch.sin(angles).T
    zero, one = torch.zeros_like(cz), torch.ones_like(cz)
    x, y, z = parameters[:, 3:].T
    rows = [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx, x,
            sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx, y,
            -sy, cy * sx, cy * cx, z, zero, zero, zero, one]
    return torch.stack(rows, -1).reshape(-1, 4, 4)


def corners(scale: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """The four corners [4, 4] of the image in mm, a column each."""
    pixels = torch.tensor([[1.0, 1, 0, 1], [columns, 1, 0, 1], [1, rows, 0, 1], [columns, rows, 0, 1]])
    return scale @ pixels.to(scale).T


def prepared(frames: torch.Tensor, shrink: int) -> torch.Tensor:
    """uint8 [B, 2, rows, columns] as float in 0..1, averaged over squares of `shrink` pixels."""
    x = frames.float() / 255
    return nn.functional.avg_pool2d(x, shrink) if shrink > 1 else x


class SequenceNetwork(nn.Module):
    """Features of neighbouring frames over a window, and a recurrent head that looks along it both ways.

    uint8 or float frames [B, L, rows, columns] -> [B, L - 1, outputs], of each frame to the one before.
    """

    WIDTHS, HIDDEN = (16, 32, 48, 64, 96), 96

    def __init__(self, outputs: int = 6):
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3     # both frames, and what differs
        for width in self.WIDTHS:
            layers += ([conv(channels, width, 5, 2)] if not layers else
                       [conv(channels, width, 3, 2), conv(width, width, 3)])
            channels = width
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten())
        self.recurrent = nn.GRU(4 * channels, self.HIDDEN, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * self.HIDDEN, outputs)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        before, after = frames[:, :-1], frames[:, 1:]
        x = torch.stack([before, after, 4 * (after - before)], 2)
        pairs = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        features = self.features(pairs).unflatten(0, x.shape[:2])
        return self.head(self.recurrent(features)[0])


class PairsOfWindow(nn.Module):
    """The pair network with the sequence network's interface: each pair of a window for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.network = pair_network()

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        x = torch.stack([frames[:, :-1], frames[:, 1:]], 2)
        pairs = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.network(pairs).unflatten(0, x.shape[:2])


MODELS = {"pair": PairsOfWindow, "sequence": SequenceNetwork}
