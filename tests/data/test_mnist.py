import gzip
import sys

import numpy as np
import pytest

from nmn_jax.data import mnist


def test_small_files_are_read(small_mnist):
    data = mnist.load(small_mnist)
    assert data.train_images.shape == (6, 28, 28)
    assert data.test_images.shape == (4, 28, 28) and data.test_images.dtype == np.uint8
    random = np.random.default_rng(0)
    for values in data:
        np.testing.assert_array_equal(
            values, random.integers(0, 10, values.shape, np.uint8)
        )
    assert data.train_labels.dtype == np.int32


@pytest.mark.parametrize("keep", [0, 5, -1, -20])
def test_truncated_gzip_is_named(small_mnist, keep):
    path = small_mnist / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte.gz"):
        mnist.load(small_mnist)


def test_flipped_byte_is_found(small_mnist):
    path = small_mnist / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.gz"):
        mnist.load(small_mnist)


def test_other_content_is_refused(small_mnist, idx):
    zeros = np.zeros((4, 28, 28), np.uint8)
    path = small_mnist / "t10k-images-idx3-ubyte.gz"
    for content, message in (
        (idx(zeros[..., 1:]), "idx header"),
        (b"\0\0", "idx header"),
        (idx(zeros)[:-1], "3135 values where 3136 belong"),
        (idx(zeros), "content differs"),
    ):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(ValueError, match=message):
            mnist.load(small_mnist)


def test_missing_files_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        mnist.load(tmp_path)
    message = str(error.value)
    for part in (*mnist.FILES, "NMN_DATA_DIR", "nmn_jax.data.fetch mnist", "digits()"):
        assert part in message


def test_real_mnist(real_folder):
    data = mnist.load(real_folder("mnist", *mnist.FILES))
    assert data.train_images.shape == (60_000, 28, 28)
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(data.test_labels).tolist() == counts
    assert data.train_images.mean() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert data.train_images.std() / 255 == pytest.approx(0.3081, abs=1e-4)


def test_digits_have_the_form_of_mnist():
    data = mnist.digits()
    assert data.train_images.shape == (1437, 28, 28)
    assert data.test_images.shape == (360, 28, 28)
    assert data.train_images.dtype == np.uint8 and data.train_images.max() == 255
    assert set(data.train_labels) == set(data.test_labels) == set(range(10))
    frame = data.train_images.copy()
    frame[:, 4:-4, 4:-4] = 0
    assert not frame.any()


def test_digits_can_be_told_apart():
    data = mnist.digits()
    train, test = (
        images.reshape(len(images), -1).astype(np.float32)
        for images in (data.train_images, data.test_images)
    )
    gaps = (train**2).sum(1) - 2 * test @ train.T
    found = data.train_labels[gaps.argmin(1)]
    assert (found == data.test_labels).mean() > 0.9


def test_digits_without_scikit_learn_say_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        mnist.digits()
