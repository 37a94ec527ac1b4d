import numpy as np
import pytest

from nmn_jax.data import files, lake, splits


@pytest.fixture(scope="module")
def lake_folder(real_folder):
    return real_folder("omniglot", lake.FILE)


@pytest.fixture(scope="module")
def runs(lake_folder):
    return lake.load(lake_folder)


@pytest.fixture
def small_runs(png):
    """One run in the official layout; item n is class n + 1, the last one the first."""
    members = {}
    for number in range(1, lake.ITEMS + 1):
        image = np.zeros((105, 105), bool)
        image[5 * number :] = True
        members[f"run01/training/class{number:02d}.png"] = png(image)
        members[f"run01/test/item{number:02d}.png"] = png(~image)
    lines = [
        f"run01/test/item{n:02d}.png run01/training/class{n % lake.ITEMS + 1:02d}.png\n"
        for n in range(1, lake.ITEMS + 1)
    ]
    members["run01/class_labels.txt"] = "".join(lines).encode()
    return members


@pytest.fixture
def small_folder(tmp_path, monkeypatch, small_runs, write_zip):
    write_zip(tmp_path / lake.FILE, small_runs)
    monkeypatch.setattr(lake, "RUNS", 1)
    monkeypatch.setattr(lake, "BLOBS", files.blob_digest(small_runs))
    return tmp_path


def test_small_run_is_read(small_folder):
    runs = lake.load(small_folder)
    assert runs.training.shape == runs.test.shape == (1, 20, 28, 28)
    assert runs.answers.tolist() == [[*range(1, 20), 0]]
    assert (np.diff(runs.training.astype(int).sum((2, 3))) < 0).all()
    assert (np.diff(runs.test.astype(int).sum((2, 3))) > 0).all()


def test_changed_answers_are_refused(small_folder, small_runs, write_zip):
    members = dict(small_runs)
    labels = members["run01/class_labels.txt"]
    members["run01/class_labels.txt"] = labels.replace(b"class01", b"class02")
    write_zip(small_folder / lake.FILE, members)
    with pytest.raises(ValueError, match="all_runs.zip: its runs differ"):
        lake.load(small_folder)


def test_damaged_and_missing_zip_are_named(small_folder):
    path = small_folder / lake.FILE
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="all_runs.zip: not a readable zip"):
        lake.load(small_folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="fetch omniglot"):
        lake.load(small_folder)


def test_real_runs_join_drawings_of_one_character(runs, real_omniglot):
    """All 800 images are drawings of the evaluation set, and the answers are right."""
    known = {
        image.tobytes(): number
        for number, images in enumerate(real_omniglot.images)
        for image in images
    }
    training, test = (
        np.array([[known[image.tobytes()] for image in run] for run in images])
        for images in (runs.training, runs.test)
    )
    np.testing.assert_array_equal(
        np.take_along_axis(training, runs.answers, axis=1), test
    )
    assert np.isin(
        training, splits.load("official", real_omniglot.characters).test
    ).all()
    for run in training:
        assert len(set(run)) == 20
        assert len({real_omniglot.alphabets[number] for number in run}) == 1


def test_real_answers_are_permutations(runs):
    assert runs.answers.dtype == np.int32
    np.testing.assert_array_equal(
        np.sort(runs.answers), np.tile(np.arange(20), (20, 1))
    )


def test_real_content_is_accepted_without_the_zips_own_hash(lake_folder, monkeypatch):
    monkeypatch.setattr(lake, "SHA256", "")
    assert lake.load(lake_folder).training.shape == (20, 20, 28, 28)
