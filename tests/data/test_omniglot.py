import hashlib
import pathlib
import time
import zipfile

import numpy as np
import pytest

from nmn_jax.data import files, omniglot


def test_small_zips_are_read_in_order_of_numbers(small_omniglot):
    data = omniglot.load(small_omniglot)
    assert data.images.shape == (4, 20, 28, 28) and data.images.dtype == np.uint8
    assert data.characters == (
        "Background0/character01",
        "Background1/character02",
        "Background0/character03",
        "Evaluation0/character04",
    )
    assert data.alphabets == (
        "Background0",
        "Background1",
        "Background0",
        "Evaluation0",
    )
    assert data.drawers.tolist() == list(range(1, 21))
    rows, columns = data.images.sum(3).argmax(2), data.images.sum(2).argmax(2)
    # the dot of 15 x 8 pixels has its corner at (20 * class, 5 * drawer) of 105
    true_rows = (20 * np.arange(4)[:, None] + 7) * 28 / 105
    true_columns = (5 * np.arange(20) + 4) * 28 / 105
    assert abs(rows - true_rows).max() < 2.5
    assert abs(columns - true_columns).max() < 2.5


def test_images_cannot_be_changed_by_mistake(small_omniglot):
    with pytest.raises(ValueError, match="read-only"):
        omniglot.load(small_omniglot).images[0] = 0


def test_second_load_comes_from_the_cache(small_omniglot, monkeypatch):
    first = omniglot.load(small_omniglot)
    assert omniglot.cache_path(small_omniglot).is_file()
    monkeypatch.setattr(omniglot, "_read", None)
    np.testing.assert_array_equal(omniglot.load(small_omniglot).images, first.images)


def _reversed(images):
    return images[::-1]


def _floats(images):
    return images.astype(np.float32)


def _flat(images):
    return images.reshape(80, 28, 28)


def _black(images):
    return np.zeros_like(images)


@pytest.mark.parametrize("change", [_reversed, _floats, _flat, _black])
def test_a_cache_of_other_images_is_not_believed(small_omniglot, change):
    first = omniglot.load(small_omniglot)
    path = omniglot.cache_path(small_omniglot)
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(path, **{**arrays, "images": change(arrays["images"])})
    with pytest.warns(UserWarning, match="damaged cache, made anew"):
        again = omniglot.load(small_omniglot)
    np.testing.assert_array_equal(again.images, first.images)
    assert again.images.dtype == np.uint8


def test_missing_zip_says_what_to_do_at_once(small_omniglot):
    (small_omniglot / "images_evaluation.zip").unlink()
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as error:
        omniglot.load(small_omniglot)
    assert time.monotonic() - start < 3
    message = str(error.value)
    for part in ("images_evaluation.zip", str(small_omniglot), "NMN_DATA_DIR"):
        assert part in message
    assert "python -m nmn_jax.data.fetch omniglot" in message and "glyphs" in message
    assert "images_background.zip" not in message


def test_truncated_zip_is_named(small_omniglot):
    path = small_omniglot / "images_background.zip"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="images_background.zip: not a readable zip"):
        omniglot.load(small_omniglot)


def test_flipped_byte_is_found(small_omniglot):
    path = small_omniglot / "images_evaluation.zip"
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 8] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="images_evaluation.zip: not a readable zip"):
        omniglot.load(small_omniglot)


def _without_one(members):
    members.popitem()


def _renamed(members):
    name = next(iter(members))
    members[name.replace("_01.png", "_21.png")] = members.pop(name)


def _not_official(members):
    members["readme.png"] = members.popitem()[1]


def _moved(members):
    for name in [name for name in members if "0001_" in name]:
        members[name.replace("Background0", "Other")] = members.pop(name)


def _redrawn(members):
    first, second = sorted(members)[:2]
    members[first] = members[second]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_one, "59 images where 60 belong"),
        (_renamed, "60 images where 60 belong"),
        (_not_official, "readme.png: not of the form"),
        (_moved, "3 alphabets where 2 belong"),
        (_redrawn, "images differ from the official ones"),
    ],
)
def test_other_content_is_refused(
    small_omniglot, small_members, write_zip, change, message
):
    members = small_members("images_background")
    change(members)
    write_zip(small_omniglot / "images_background.zip", members)
    with pytest.raises(ValueError, match=message):
        omniglot.load(small_omniglot)


def test_official_md5_is_accepted_without_the_blobs(small_omniglot, monkeypatch):
    path = small_omniglot / "images_background.zip"
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    known = omniglot.ARCHIVES["images_background"]._replace(md5=md5, blobs="")
    monkeypatch.setitem(omniglot.ARCHIVES, "images_background", known)
    assert omniglot.load(small_omniglot).images.shape[0] == 4


def test_folder_entries_are_no_images(small_omniglot):
    with zipfile.ZipFile(small_omniglot / "images_background.zip", "a") as archive:
        archive.mkdir("images_background/Background0")
    assert omniglot.load(small_omniglot).images.shape[0] == 4


def test_real_counts(real_omniglot):
    data = real_omniglot
    assert data.images.shape == (1623, 20, 28, 28)
    assert len(set(data.characters)) == 1623 and len(set(data.alphabets)) == 50
    assert len(set(data.alphabets[:964])) == 30
    assert set(data.alphabets[:964]).isdisjoint(data.alphabets[964:])
    assert data.images.max(axis=(2, 3)).min() > 100  # ink everywhere
    # mean ink share of the originals is 8.05 %; the resize clips a little overshoot
    assert data.images.mean() / 255 == pytest.approx(0.0805, abs=0.005)


def test_real_content_has_the_published_digest(omniglot_folder):
    members = {}
    for name in omniglot.ARCHIVES:
        members |= files.read_zip(pathlib.Path(omniglot_folder, f"{name}.zip"), ".png")
    assert (
        files.blob_digest(members)
        == "8d912072fa6db79e5a98eae296b0cfc0801f4a7ef832a80150c383a8d829b4ff"
    )


def test_real_twins(real_omniglot):
    # the one pair of identical drawings: Braille/character01, drawers 3 and 19
    number = real_omniglot.characters.index("Braille/character01")
    assert number == 191
    np.testing.assert_array_equal(*real_omniglot.images[number, [2, 18]])
