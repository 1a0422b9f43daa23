"""Augmentation: shifts, rotates, scales, shears and distorts each image of a batch in one resampling pass."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from misread.training.recipe import Augmentation

MIN_WAVE = 0.05  # relative to the strongest wave of an elastic field; weaker waves have about 0.1% of the variance
MIN_ERASED_AREA, MIN_ERASED_ASPECT = 0.02, 0.3  # share of the image's area; short side / long side. As in the paper


@torch.no_grad()
def augment(images: Tensor, spec: Augmentation, generator: torch.Generator, mirrored: Tensor | None = None) -> Tensor:
    """Augment each image with its own random draws.

    images:    (B, H, W, C) uint8 on any device. They are not changed.
    generator: the source of all random numbers. It may be on another device than the images.
    mirrored:  (B,) bool on the generator's device, the images to mirror if the recipe has `flip`; drawn if None.
    Returns (B, H, W, C) uint8. Pixels from outside the frame take the colour of the nearest pixel of the frame, which
    is usually the background. So no part of the object appears twice.
    Source: elastic distortion, Simard et al. 2003 (doi 10.1109/ICDAR.2003.1227801); random erasing, Zhong et al. 2017
    (arXiv 1708.04896), here with one noise image for the whole batch.
    """
    if spec.rotation or spec.scale or spec.shear or spec.elastic:
        grid = _grid(images, spec, generator, mirrored)
        pixels = images.movedim(-1, 1).to(torch.float32)
        sampled = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        # the values are in 0..255, so adding 0.5 and truncating rounds them
        augmented = sampled.add_(0.5).to(torch.uint8).movedim(1, -1).contiguous()
    else:
        augmented = _moved_whole_pixels(images, spec, generator, mirrored)
    return _erase(augmented, spec, generator) if spec.erasing else augmented


def versions(images: Tensor, spec: Augmentation, count: int, seed: int) -> Tensor:
    """(N, count, H, W, C) uint8: `count` augmented versions of each image (N, H, W, C) uint8."""
    generator = torch.Generator().manual_seed(seed)
    return augment(images.repeat_interleave(count, dim=0), spec, generator).unflatten(0, (len(images), count))


def _draws(count: int, generator: torch.Generator) -> Tensor:
    """(7, B) in -1..1: for each image the numbers that decide its rotation, shear, scales, shifts and flip."""
    return torch.rand(7, count, generator=generator, device=generator.device).mul_(2).sub_(1)


def _moved_whole_pixels(
    images: Tensor, spec: Augmentation, generator: torch.Generator, mirrored: Tensor | None
) -> Tensor:
    """The images shifted and mirrored. Shifts by whole pixels do not blur them."""
    count, height, width, channels = images.shape
    *_, right, down, side = _draws(count, generator)
    down, right = _pixels(down, spec.shift, height), _pixels(right, spec.shift, width)
    mirrored = side < 0 if mirrored is None else mirrored
    rows = (torch.arange(height, device=side.device) - down[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width, device=side.device) - right[:, None]).clamp(0, width - 1)
    if spec.flip:
        columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
    image = torch.arange(count, device=side.device)[:, None, None]
    sources = ((image * height + rows[:, :, None]) * width + columns[:, None, :]).flatten().to(images.device)
    return images.reshape(-1, channels).index_select(0, sources).view_as(images)


def _pixels(drawn: Tensor, share: float, side: int) -> Tensor:
    """(B,) int64, each whole number from -share * side to share * side equally likely, from numbers in -1..1."""
    most = round(share * side)
    return ((drawn + 1) / 2 * (2 * most + 1)).long().clamp(max=2 * most) - most


def _grid(images: Tensor, spec: Augmentation, generator: torch.Generator, mirrored: Tensor | None = None) -> Tensor:
    """(B, H, W, 2): for each pixel of the result its position in the source image, x and y from -1 to 1.

    Each grid is a weighted sum of the same fields: x, y, a constant, and the waves of the elastic distortion. So one
    matrix product of random weights with these fields gives all grids of the batch.
    """
    count, height, width, _ = images.shape
    fields = _fields(height, width, spec.elastic_smoothness if spec.elastic else None, images.device)
    weights = _affine_weights(count, width / height, spec, generator, mirrored)
    if spec.elastic:
        waves = torch.randn(count, 2, len(fields) - 3, generator=generator, device=generator.device)
        weights = torch.cat([weights, waves.mul_(2 * spec.elastic)], dim=2)
    grid = weights.to(images.device).flatten(0, 1) @ fields
    return grid.view(count, 2, height, width).movedim(1, -1)


def _affine_weights(
    count: int, aspect: float, spec: Augmentation, generator: torch.Generator, mirrored: Tensor | None = None
) -> Tensor:
    """(B, 2, 3): maps (x, y, 1) in the result to (x, y) in the source image.

    An image is shifted, scaled (and flipped), sheared, then rotated about its centre. This is the inverse.
    aspect: width / height, because x and y are relative to sides that may differ.
    """
    turn, lean, wider, taller, right, down, side = _draws(count, generator)
    angle = turn * math.radians(spec.rotation)
    lean = torch.tan(lean * math.radians(spec.shear))
    cos, sin = torch.cos(angle), torch.sin(angle)
    x_scale, y_scale = 1 + spec.scale * wider, 1 + spec.scale * taller
    if spec.flip:
        x_scale = torch.where(side < 0 if mirrored is None else mirrored, -x_scale, x_scale)
    x = [(cos + lean * sin) / x_scale, (sin - lean * cos) / x_scale / aspect, -2 * spec.shift * right]
    y = [-sin / y_scale * aspect, cos / y_scale, -2 * spec.shift * down]
    return torch.stack([*x, *y], dim=1).view(count, 2, 3)


@lru_cache(maxsize=8)
def _fields(height: int, width: int, smoothness: float | None, device: torch.device) -> Tensor:
    """(3 + waves, H * W): x, y, 1, and the waves of the elastic distortion if a smoothness is set."""
    x = (torch.arange(width) * 2 + 1) / width - 1
    y = (torch.arange(height) * 2 + 1) / height - 1
    fields = [x.expand(height, width), y[:, None].expand(height, width), torch.ones(height, width)]
    if smoothness is not None:
        fields += _waves(height, width, smoothness)
    return torch.stack(fields).flatten(1).to(device)


def _waves(height: int, width: int, smoothness: float) -> Tensor:
    """(waves, H, W): their sum, weighted by standard normal numbers, is white noise after a Gaussian filter.

    A Gaussian filter that mirrors the noise at the border multiplies the cosine wave of k half periods by
    exp(-(pi k sigma)^2 / 2), with sigma as a share of the side. So only the few strong waves are drawn, not all noise.
    Each pixel is scaled to variance 1, because mirroring doubles the variance along the border.
    """
    k = torch.arange(max(height, width))
    gain = torch.exp(-((math.pi * smoothness * k) ** 2) / 2) * math.sqrt(2)
    gain[0] /= math.sqrt(2)  # normalisation: a constant has twice the mean square of a wave
    down, across = torch.nonzero(gain[:height, None] * gain[:width] >= MIN_WAVE).unbind(1)
    y = gain[down, None] * torch.cos(math.pi * down[:, None] * (torch.arange(height) + 0.5) / height)
    x = gain[across, None] * torch.cos(math.pi * across[:, None] * (torch.arange(width) + 0.5) / width)
    waves = y[:, :, None] * x[:, None, :]
    return waves / waves.square().sum(dim=0).sqrt()


def _erase(images: Tensor, spec: Augmentation, generator: torch.Generator) -> Tensor:
    """Put a rectangle of noise into a share of the images. Noise means "unknown"; the background would mean "empty"."""
    count, height, width, channels = images.shape
    device = generator.device
    noise = torch.randint(0, 256, (height, width, channels), dtype=torch.uint8, generator=generator, device=device)
    chosen, area, aspect, top, left = torch.rand(5, count, generator=generator, device=device)
    area = MIN_ERASED_AREA + (spec.erasing_area - MIN_ERASED_AREA) * area
    aspect = torch.exp((2 * aspect - 1) * math.log(MIN_ERASED_ASPECT))
    tall, wide = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    tall = tall * (chosen < spec.erasing)
    rows = _inside(top * (1 - tall), tall, height)
    columns = _inside(left * (1 - wide), wide, width)
    erased = (rows[:, :, None, None] * columns[:, None, :, None]).to(images.device)
    return images + (noise.to(images.device) - images) * erased  # `torch.where` takes four times as long


def _inside(start: Tensor, length: Tensor, pixels: int) -> Tensor:
    """(B, pixels) uint8: 1 for pixels with their centre in `start` to `start + length`, as shares of the side."""
    middle = (torch.arange(pixels, device=start.device) + 0.5) / pixels
    return ((middle >= start[:, None]) & (middle < (start + length)[:, None])).to(torch.uint8)
