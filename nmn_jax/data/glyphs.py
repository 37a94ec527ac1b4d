"""Made-up alphabets: stroke characters drawn in code, for use without any files.

An alphabet has a style and a few stroke shapes of its own; a character joins some of
them; a drawer writes all characters of an alphabet with one hand (slant, turn, size,
pen) and never the same stroke twice. The images look like Omniglot's and have its
form. Every class depends only on the seed and its own number, so a larger set begins
with the classes of a smaller one.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from nmn_jax.data import types

_KNOTS = 9  # a stroke is a smooth curve through this many points
_POINTS = 40  # and is drawn with this many dots
_STROKES = 4  # most strokes of a character
_SHAPES = ("line", "arc", "curve", "hook", "loop")
_TIME = np.linspace(0.0, 1.0, _KNOTS)
# What a hand does to a stroke: move it, turn and stretch it, bend it.
_HAND = np.stack([np.ones(_KNOTS), 2 * _TIME - 1, 6 * _TIME**2 - 6 * _TIME + 1])


class Alphabet(NamedTuple):
    """What the characters of one alphabet share."""

    shapes: Float[np.ndarray, "shapes knots 2"]
    likely: Float[np.ndarray, " shapes"]
    strokes: Float[np.ndarray, " strokes"]  # chance of 1, 2, ... strokes
    joined: float  # chance that a stroke starts on an earlier one
    spread: float  # width over height


def make(
    seed: int = 0, *, alphabets: int = 30, characters: int = 20, drawers: int = 20
) -> types.Characters:
    """Draw ``alphabets * characters`` classes.

    Args:
        seed: decides everything.
        alphabets: number of alphabets.
        characters: characters in each alphabet.
        drawers: drawings of each character.

    Returns:
        ``Characters`` with images ``[alphabets * characters, drawers, 28, 28]``.

    Raises:
        ValueError: a count is below 1.
    """
    if min(alphabets, characters, drawers) < 1:
        raise ValueError(
            f"alphabets={alphabets}, characters={characters}, drawers={drawers}: "
            "each must be at least 1"
        )
    images = np.concatenate(
        [_draw_alphabet(seed, a, characters, drawers) for a in range(alphabets)]
    )
    names = [f"glyphs{a + 1:02d}" for a in range(alphabets) for _ in range(characters)]
    numbers = list(range(1, characters + 1)) * alphabets
    full = tuple(f"{a}/character{n:02d}" for a, n in zip(names, numbers, strict=True))
    return types.Characters(images, tuple(names), full, np.arange(1, drawers + 1))


def split(data: types.Characters) -> types.Split:
    """Train, validation and test by whole alphabets, about 7 : 1 : 2.

    Raises:
        ValueError: fewer than three alphabets.
    """
    alphabets = sorted(set(data.alphabets))
    if len(alphabets) < 3:
        raise ValueError(
            f"{len(alphabets)} alphabets: three parts need at least 3, make more"
        )
    test = max(1, round(0.2 * len(alphabets)))
    validation = max(1, round(0.1 * len(alphabets)))
    cuts = [len(alphabets) - test - validation, len(alphabets) - test]
    position = np.array([alphabets.index(name) for name in data.alphabets])
    part = np.searchsorted(cuts, position, side="right")
    return types.Split(*(np.flatnonzero(part == k).astype(np.int32) for k in range(3)))


def _draw_alphabet(
    seed: int, number: int, characters: int, drawers: int
) -> UInt8[np.ndarray, "characters drawers 28 28"]:
    alphabet = _make_alphabet(np.random.default_rng((seed, number, 0)))
    hands = [np.random.default_rng((seed, number, 1, d)) for d in range(drawers)]
    affine, shift, pen = (
        np.stack(x) for x in zip(*map(_make_hand, hands), strict=True)
    )
    written = []
    for character in range(characters):
        strokes = _compose(
            np.random.default_rng((seed, number, 2, character)), alphabet
        )
        noise = np.random.default_rng((seed, number, 3, character))
        written.append(_write(noise, strokes, affine, shift))
    knots = np.stack(written)  # [characters, drawers, strokes, knots, 2]
    return render(knots, np.broadcast_to(pen, knots.shape[:2]))


def _make_alphabet(random: np.random.Generator) -> Alphabet:
    kinds = random.dirichlet(np.full(len(_SHAPES), 0.7))
    snap = random.choice([np.pi / 2, np.pi / 4, np.pi / 6, np.pi / 12])
    shapes = []
    for _ in range(random.integers(6, 10)):
        shape = _make_shape(random, str(random.choice(_SHAPES, p=kinds)))
        shape *= random.uniform(0.5, 1.2) * np.array([1.0, random.choice([-1.0, 1.0])])
        shapes.append(shape @ _turn(snap * random.integers(0, 24)))
    return Alphabet(
        shapes=np.stack(shapes),
        likely=random.dirichlet(np.full(len(shapes), 3.0)),
        strokes=random.dirichlet([0.4, 2.5, 3.0, 2.0]),
        joined=random.uniform(0.6, 0.97),
        spread=random.uniform(0.7, 1.3),
    )


def _make_shape(random: np.random.Generator, kind: str) -> np.ndarray:
    """A stroke of about unit size, ``[knots, 2]``."""
    if kind == "line":
        return np.stack([_TIME - 0.5, np.zeros(_KNOTS)], -1)
    if kind == "curve":
        height = random.uniform(0.15, 0.35)
        return np.stack([_TIME - 0.5, height * np.sin(2 * np.pi * _TIME)], -1)
    if kind == "hook":
        bend, corner = random.uniform(0.8, 2.4), random.uniform(0.4, 0.8)
        late = np.maximum(_TIME - corner, 0)
        x = np.minimum(_TIME, corner) + np.cos(bend) * late - 0.5
        return np.stack([x, np.sin(bend) * late], -1)
    sweep = random.uniform(1.8, 4.2) if kind == "arc" else random.uniform(5.6, 6.4)
    angle = sweep * (_TIME - 0.5)
    return 0.5 * np.stack([np.cos(angle), random.uniform(0.6, 1.0) * np.sin(angle)], -1)


def _compose(random: np.random.Generator, alphabet: Alphabet) -> np.ndarray:
    """A character ``[strokes, knots, 2]`` in a box of 2 x 2; no stroke: a dot."""
    count = 1 + random.choice(_STROKES, p=alphabet.strokes)
    strokes: list[np.ndarray] = []
    for _ in range(count):
        shape = alphabet.shapes[random.choice(len(alphabet.shapes), p=alphabet.likely)]
        shape = shape * random.uniform(0.6, 1.3) @ _turn(np.pi / 2 * random.integers(4))
        strokes.append(shape + _place(random, shape, strokes, alphabet.joined))
    whole = np.stack(strokes) * [alphabet.spread, 1.0]
    low, high = whole.min((0, 1)), whole.max((0, 1))
    whole = (whole - (low + high) / 2) * 2 / max(*(high - low), 0.8)
    absent = np.zeros((_STROKES - count, _KNOTS, 2))
    return np.concatenate([whole, absent])


def _place(random, shape, strokes, joined) -> np.ndarray:
    """Where the next stroke goes: on an earlier one, or anywhere; not over the others.

    Of three places the one farthest from the earlier strokes is taken.
    """
    if not strokes:
        return -shape.mean(0)
    written = np.concatenate(strokes)
    joins = random.choice([0, _KNOTS // 2, _KNOTS - 1], (3, 2))
    others = random.integers(len(strokes), size=3) * _KNOTS + joins[:, 1]
    places = written[others] - shape[joins[:, 0]]
    if random.uniform() > joined:
        places = random.uniform(-0.8, 0.8, (3, 2)) - shape.mean(0)
    moved = shape + places[:, None]  # [3, knots, 2]
    gaps = np.linalg.norm(moved[:, :, None] - written, axis=-1).min(-1).mean(-1)
    return places[gaps.argmax()]


def _make_hand(random: np.random.Generator):
    """A drawer's affine map to pixels ``[2, 2]``, shift ``[2]``, pen width ``[]``."""
    slant, turn, wide, high = random.normal(size=4) * [0.15, 0.1, 0.12, 0.12]
    size = 9.0 * np.diag(np.exp([wide, high]))
    matrix = size @ np.array([[1.0, 0.0], [slant, 1.0]]) @ _turn(turn)
    return matrix, random.normal(size=2) * 1.2, random.uniform(0.5, 0.65)


def _write(random, strokes, affine, shift) -> np.ndarray:
    """One character by every drawer, ``[drawers, strokes, knots, 2]`` in pixels."""
    noise = random.normal(size=(len(affine), _STROKES + 1, len(_HAND), 2))
    size = np.array([0.055, 0.07, 0.045])[:, None]
    bends = np.einsum("dsbx,bk->dskx", noise[:, :_STROKES] * size, _HAND)
    present = np.ptp(strokes, axis=1).any(-1)
    drawn = strokes + bends * present[:, None, None]
    own = affine @ (np.eye(2) + 0.07 * noise[:, -1, 1:])
    return drawn @ own[:, None] + (13.5 + shift + 0.8 * noise[:, -1, 0])[:, None, None]


def render(
    knots: Float[np.ndarray, "*batch strokes knots 2"],
    pen: Float[np.ndarray, "*batch"],
) -> UInt8[np.ndarray, "*batch 28 28"]:
    """Anti-aliased strokes: dots along the curves, blurred to the width of the pen.

    A dot weighs as much as the curve is long around it, so ink does not depend on how
    densely a curve is dotted and a stroke without length leaves none.
    """
    points = np.einsum("pk,...skx->...spx", _SMOOTH, knots)
    weights = np.linalg.norm(np.gradient(points, axis=-2), axis=-1)
    batch = points.shape[:-3]
    points = points.reshape(*batch, -1, 2).astype(np.float32)
    weights = weights.reshape(*batch, -1, 1).astype(np.float32)
    width = pen[..., None, None].astype(np.float32)
    pixels = np.arange(28, dtype=np.float32)
    x = np.exp(-0.5 * ((pixels - points[..., :1]) / width) ** 2)
    y = np.exp(-0.5 * ((pixels - points[..., 1:]) / width) ** 2)
    ink = np.swapaxes(y * weights, -1, -2) @ x / (width * np.sqrt(2 * np.pi))
    return (255 * np.clip(1.5 * ink - 0.2, 0, 1)).astype(np.uint8)


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _spline() -> np.ndarray:
    """Catmull-Rom interpolation as a matrix ``[points, knots]``."""
    place = np.linspace(0, _KNOTS - 1, _POINTS)
    first = np.minimum(place.astype(int), _KNOTS - 2)
    t = place - first
    weights = 0.5 * np.stack(
        [
            -t + 2 * t**2 - t**3,
            2 - 5 * t**2 + 3 * t**3,
            t + 4 * t**2 - 3 * t**3,
            t**3 - t**2,
        ]
    )
    matrix = np.zeros((_POINTS, _KNOTS))
    for offset, weight in zip(range(-1, 3), weights, strict=True):
        knot = np.clip(first + offset, 0, _KNOTS - 1)
        np.add.at(matrix, (np.arange(_POINTS), knot), weight)
    return matrix


_SMOOTH = _spline()
