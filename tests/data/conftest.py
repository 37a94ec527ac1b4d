"""Real data where it is at hand, and a cache folder that ends with the session."""

import gzip
import hashlib
import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from nmn_jax.data import files, mnist, omniglot


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NMN_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session")
def real_folder():
    """Function giving the folder of a real data set, or skipping with a reason."""
    return _real_folder


@pytest.fixture(scope="session")
def png():
    return _png


@pytest.fixture(scope="session")
def write_zip():
    return _write_zip


@pytest.fixture(scope="session")
def small_members():
    return _small_members


def _real_folder(name, *names):
    folder = files.data_dir(name)
    if "NMN_DATA_DIR" not in os.environ:
        pytest.skip(f"real {name} not tested: NMN_DATA_DIR is not set")
    if not all((folder / file).is_file() for file in names):
        pytest.skip(f"real {name} not tested: {', '.join(names)} not in {folder}")
    return folder


@pytest.fixture(scope="session")
def omniglot_folder():
    return _real_folder("omniglot", *(f"{name}.zip" for name in omniglot.ARCHIVES))


@pytest.fixture(scope="session")
def real_omniglot(omniglot_folder, cache_folder):
    return omniglot.load(omniglot_folder)


def _png(pixels):
    """A black-on-white 1-bit PNG from an array that is True where there is ink."""
    file = io.BytesIO()
    Image.fromarray(np.where(pixels, 0, 255).astype(np.uint8)).convert("1").save(
        file, "PNG"
    )
    return file.getvalue()


def _write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


SMALL = {"images_background": (0, 3, 2), "images_evaluation": (3, 1, 1)}


def _small_members(name):
    """PNGs in the official layout; a dot whose place tells class and drawer."""
    first, characters, alphabets = SMALL[name]
    members = {}
    for number in range(first, first + characters):
        alphabet = f"{name[7:].title()}{number % alphabets}"
        for drawer in range(omniglot.DRAWERS):
            pixels = np.zeros((105, 105), bool)
            pixels[20 * number : 20 * number + 15, 5 * drawer : 5 * drawer + 8] = True
            path = f"{name}/{alphabet}/character{number + 1:02d}"
            members[f"{path}/{number + 1:04d}_{drawer + 1:02d}.png"] = _png(pixels)
    return members


@pytest.fixture
def small_omniglot(tmp_path, monkeypatch):
    """A folder of two small zips that are taken for the official ones."""
    folder = tmp_path / "omniglot"
    folder.mkdir()
    for name, (first, characters, alphabets) in SMALL.items():
        members = _small_members(name)
        _write_zip(folder / f"{name}.zip", members)
        small = omniglot.Archive(
            first, characters, alphabets, md5="", blobs=files.blob_digest(members)
        )
        monkeypatch.setitem(omniglot.ARCHIVES, name, small)
    return folder


def _idx(values):
    header = np.array([0x800 + values.ndim, *values.shape], ">i4")
    return header.tobytes() + values.tobytes()


@pytest.fixture(scope="session")
def idx():
    """Function writing an array of bytes as the content of an idx file."""
    return _idx


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A folder of four small files that are taken for the official ones."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, expected in list(mnist.FILES.items()):
        shape = (6 if "train" in name else 4, *expected.shape[1:])
        content = _idx(random.integers(0, 10, shape, np.uint8))
        (folder / name).write_bytes(gzip.compress(content))
        small = mnist.IdxFile(shape, hashlib.md5(content).hexdigest())
        monkeypatch.setitem(mnist.FILES, name, small)
    return folder
