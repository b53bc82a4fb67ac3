"""The autoencoder of sub-goal pictures: from 80 x 160 pixels, colour and depth, to latents an eighth as fine."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.subgoal.pixel_transport import FACTOR, SHRINK

_SQUARE = 4  # pixels along a square that the network takes as one place
_SURE = -6.0  # logarithm of the latents' variance at the start


def downsample(picture: Tensor) -> Tensor:
    """The stem's picture (B, 4, H, W), colour in [-1, 1] and depth, at the size that is coded (B, 4, H / 2, W / 2)."""
    return F.avg_pool2d(picture, SHRINK)


class Autoencoder(nn.Module):
    """A linear code of squares of 8 x 8 pixels, and beside it a network that adds what is missing, both ways.

    The linear part begins as principal components (:meth:`measure`), so that training starts from a picture that can
    be recognised; such shortcuts are those of Chen et al., DC-AE, 2410.10733. The network is diffusers' own
    autoencoder, on squares of 4 x 4 pixels, which is quick on a CPU.
    """

    def __init__(self, config: LoHoVLAConfig):
        super().__init__()
        channels, numbers = config.image_channels, 4 * _SQUARE**2
        self.look = nn.Conv2d(4, channels, FACTOR, stride=FACTOR)
        self.show = nn.ConvTranspose2d(channels, 4, FACTOR, stride=FACTOR)
        network: Any = AutoencoderKL(
            in_channels=numbers,
            out_channels=numbers,
            latent_channels=channels,
            block_out_channels=(48, 64),  # type: ignore
            down_block_types=("DownEncoderBlock2D",) * 2,  # type: ignore
            up_block_types=("UpDecoderBlock2D",) * 2,  # type: ignore
            layers_per_block=1,
            norm_num_groups=8,
            mid_block_add_attention=False,
        )
        self.network = network
        _by_channels(network)
        for layer in (network.quant_conv, network.decoder.conv_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(network.quant_conv.bias[channels:], _SURE)

    def encode(self, picture: Tensor) -> DiagonalGaussianDistribution:
        """The distribution of latents (B, C, h / 8, w / 8) of small pictures (B, 4, h, w)."""
        moments = self.network.encode(F.pixel_unshuffle(picture, _SQUARE)).latent_dist.parameters
        mean, spread = moments.chunk(2, 1)
        return DiagonalGaussianDistribution(torch.cat([mean + self.look(picture), spread], 1))

    def decode(self, latents: Tensor) -> Tensor:
        """Small pictures (B, 4, h, w) of latents (B, C, h / 8, w / 8)."""
        return self.show(latents) + F.pixel_shuffle(self.network.decode(latents).sample, _SQUARE)

    @torch.no_grad()
    def init_from_pca(self, picture: Tensor) -> None:
        """Take the principal components of squares of small pictures (B, 4, h, w) as the linear code."""
        edge, half = FACTOR, FACTOR // 2
        shifted = [picture[..., r : r - edge or None, c : c - edge or None] for r in (0, half) for c in (0, half)]
        squares = torch.cat([F.unfold(part, edge, stride=edge).transpose(1, 2).flatten(0, 1) for part in shifted])
        middle = squares.mean(0)
        away = squares - middle
        power, axes = torch.linalg.eigh(away.t() @ away / len(away))
        axes = axes[:, -self.look.out_channels :]
        size = power[-self.look.out_channels :].clamp(min=1e-6).sqrt()
        self.look.weight.copy_((axes / size).t().view_as(self.look.weight))
        self.look.bias.copy_(-(axes / size).t() @ middle)  # type: ignore[union-attr]
        self.show.weight.copy_((axes * size).t().view_as(self.show.weight))
        self.show.bias.copy_(middle.view(4, -1).mean(1))  # type: ignore[union-attr]


class ChannelNorm(nn.LayerNorm):
    """Normalises the channels of each place of a map (B, C, h, w) on their own.

    So what changes in one place changes no latents far away, and training on windows fits whole pictures.
    """

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _by_channels(network: nn.Module) -> None:
    for module in [*network.modules()]:
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, ChannelNorm(child.num_channels))
