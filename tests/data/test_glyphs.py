import time

import numpy as np
import pytest

from nmn_jax.data import glyphs


@pytest.fixture(scope="module")
def data():
    return glyphs.make(3, alphabets=6, characters=8, drawers=20)


def nearest_neighbour_accuracy(images, *, ways=5, episodes=400):
    """1-shot accuracy of the nearest support image in squared pixel distance."""
    random = np.random.default_rng(0)
    flat = images.reshape(*images.shape[:2], -1).astype(np.float32)
    right = 0
    for _ in range(episodes):
        classes = random.choice(len(flat), ways, replace=False)
        drawers = np.stack([random.choice(20, 2, replace=False) for _ in classes])
        supports, queries = flat[classes, drawers[:, 0]], flat[classes, drawers[:, 1]]
        gaps = ((queries[:, None] - supports[None]) ** 2).sum(-1)
        right += (gaps.argmin(1) == np.arange(ways)).mean()
    return right / episodes


def test_form_is_omniglots(data):
    assert data.images.shape == (48, 20, 28, 28) and data.images.dtype == np.uint8
    assert len(set(data.characters)) == 48 and len(set(data.alphabets)) == 6
    assert data.characters[8] == "glyphs02/character01"
    assert data.alphabets[8] == "glyphs02"
    assert data.drawers.tolist() == list(range(1, 21))


def test_every_drawing_has_ink_and_paper(data):
    assert data.images.max((2, 3)).min() == 255
    share = data.images.mean((2, 3)) / 255
    assert share.min() > 0.005 and share.max() < 0.4
    assert 0.05 < share.mean() < 0.1  # Omniglot's is 0.08
    edge = np.concatenate([data.images[..., 0], data.images[..., 0, :]], axis=-1)
    assert edge.mean() / 255 < 0.02


def test_same_seed_same_glyphs_whatever_was_drawn_before(data):
    glyphs.make(9, alphabets=1)
    np.random.default_rng().normal()
    again = glyphs.make(3, alphabets=6, characters=8, drawers=20)
    np.testing.assert_array_equal(again.images, data.images)
    assert (glyphs.make(4, alphabets=1, characters=8).images != data.images[:8]).any()


@pytest.mark.parametrize(
    "size",
    [
        {"alphabets": 2, "characters": 8, "drawers": 20},
        {"alphabets": 6, "characters": 3, "drawers": 20},
        {"alphabets": 6, "characters": 8, "drawers": 5},
    ],
)
def test_smaller_set_is_part_of_the_larger(data, size):
    small = glyphs.make(3, **size)
    places = [data.characters.index(name) for name in small.characters]
    expected = data.images[places, : size["drawers"]]
    np.testing.assert_array_equal(small.images, expected)


def test_no_drawing_occurs_twice(data):
    assert len(np.unique(data.images.reshape(48 * 20, -1), axis=0)) == 48 * 20


def test_pixels_alone_do_not_solve_the_task():
    found = nearest_neighbour_accuracy(glyphs.make(alphabets=10, characters=10).images)
    assert 0.3 < found < 0.7  # chance is 0.2; Omniglot's is 0.45


def test_drawings_of_a_character_resemble_each_other(data):
    mean = data.images.astype(float).mean(1).reshape(48, -1)
    own = data.images.reshape(48, 20, -1)
    gaps = ((own[:, :, None] - mean) ** 2).sum(-1)  # [classes, drawers, classes]
    assert (gaps.argmin(-1) == np.arange(48)[:, None]).mean() > 0.5


def test_drawing_is_fast():
    start = time.process_time()
    glyphs.make(1, alphabets=20, characters=20)
    assert time.process_time() - start < 8  # measured 1.8 s; the bound is for slow days


def test_a_straight_stroke_is_as_long_and_wide_as_asked():
    knots = np.zeros((1, 1, 9, 2))
    knots[0, 0] = np.stack([np.linspace(5, 22, 9), np.full(9, 14.0)], -1)
    image = glyphs.render(knots, np.array([0.6]))[0]
    assert (image[14, 6:22] == 255).all()  # x is the column
    assert (image[14, :4] == 0).all() and (image[14, 24:] == 0).all()
    assert (image[:12] == 0).all() and (image[17:] == 0).all()
    np.testing.assert_array_equal(image[13], image[15])


def test_split_is_by_alphabets():
    data = glyphs.make(alphabets=10, characters=2, drawers=1)
    split = glyphs.split(data)
    assert list(map(len, split)) == [14, 2, 4]
    np.testing.assert_array_equal(np.sort(np.concatenate(split)), np.arange(20))
    parts = [{data.alphabets[n] for n in part} for part in split]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 10


def test_bad_counts_are_refused():
    with pytest.raises(ValueError, match="drawers=0"):
        glyphs.make(drawers=0)
    with pytest.raises(ValueError, match="at least 3"):
        glyphs.split(glyphs.make(alphabets=2, characters=1, drawers=1))
