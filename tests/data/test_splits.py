import inspect

import numpy as np
import pytest

from nmn_jax.data import splits, types

COUNTS = {"paper": (1100, 100, 423), "official": (844, 120, 659)}


def names(name):
    return sorted(c for part in splits.read(name).values() for c in part)


@pytest.mark.parametrize("name", COUNTS)
def test_parts_are_disjoint_and_complete(name):
    parts = splits.read(name)
    assert tuple(map(len, parts.values())) == COUNTS[name]
    assert len(set().union(*parts.values())) == 1623


def test_both_splits_list_the_same_characters():
    assert names("paper") == names("official")


@pytest.mark.parametrize("name", COUNTS)
def test_numbers_are_those_of_the_data(name):
    characters = names(name)[::-1]
    split = splits.load(name, characters)
    for part, listed in splits.read(name).items():
        numbers = getattr(split, part)
        assert numbers.dtype == np.int32 and (np.diff(numbers) > 0).all()
        assert {characters[n] for n in numbers} == set(listed)


def test_official_split_separates_alphabets():
    alphabets = {
        part: {character.split("/")[0] for character in listed}
        for part, listed in splits.read("official").items()
    }
    assert [len(a) for a in alphabets.values()] == [25, 5, 20]
    assert len(set().union(*alphabets.values())) == 50


def test_official_test_is_the_evaluation_set(real_omniglot):
    split = splits.load("official", real_omniglot.characters)
    np.testing.assert_array_equal(split.test, np.arange(964, 1623))


def test_changed_list_is_refused(monkeypatch):
    monkeypatch.setitem(splits.SHA256, "paper", "0" * 64)
    with pytest.raises(ValueError, match="sha256"):
        splits.read("paper")


# inspect.unwrap: where annotations are enforced, they would refuse first
def test_unknown_split_and_other_data_are_refused():
    with pytest.raises(ValueError, match="paper, official"):
        inspect.unwrap(splits.read)("vinyals")
    with pytest.raises(ValueError, match="not the 2 of the data given"):
        splits.load("paper", ["a/character01", "a/character02"])


def test_rotations_are_new_classes():
    images = np.random.default_rng(0).integers(0, 255, (3, 2, 4, 4), np.uint8)
    rotated = splits.rotations(images)
    assert rotated.shape == (12, 2, 4, 4) and rotated.dtype == np.uint8
    np.testing.assert_array_equal(rotated[:3], images)
    # counter-clockwise: the last column becomes the first row
    np.testing.assert_array_equal(rotated[3:6, :, 0], images[..., -1])
    np.testing.assert_array_equal(rotated[6:9], images[..., ::-1, ::-1])
    np.testing.assert_array_equal(rotated[9:, ..., -1], images[:, :, 0])


def test_rotations_are_for_training_only():
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    split = types.Split(*map(np.array, ([0, 4], [1], [2, 3, 5])))
    plain = splits.partition(images, split)
    assert [part.ravel().tolist() for part in plain] == [[0, 4], [1], [2, 3, 5]]
    rotated = splits.partition(images, split, rotate="train")
    assert rotated.train.ravel().tolist() == [0, 4] * 4
    assert [part.ravel().tolist() for part in rotated[1:]] == [[1], [2, 3, 5]]
    with pytest.raises(ValueError, match="'train' or 'none'"):
        inspect.unwrap(splits.partition)(images, split, rotate="test")
