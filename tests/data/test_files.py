import hashlib
import pathlib

import numpy as np
import pytest
from PIL import Image

from nmn_jax.data import files


def test_folder_comes_from_argument_then_variable_then_cache(monkeypatch):
    monkeypatch.setenv("NMN_CACHE_DIR", "cache")
    monkeypatch.setenv("NMN_DATA_DIR", "data")
    assert files.data_dir("mnist", "here") == pathlib.Path("here")
    assert files.data_dir("mnist") == pathlib.Path("data/mnist")
    monkeypatch.delenv("NMN_DATA_DIR")
    assert files.data_dir("mnist") == pathlib.Path("cache/data/mnist")
    monkeypatch.delenv("NMN_CACHE_DIR")
    assert files.cache_dir() == pathlib.Path.home() / ".cache/nmn_jax"


def test_blob_digest_is_gits_own_hash():
    # `git hash-object` of an empty file and of "hello\n"
    lines = (
        "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391  a\n"
        "ce013625030ba8dba906f756967f9e9ca394464a  b\n"
    )
    found = files.blob_digest({"b": b"hello\n", "a": b""})
    assert found == hashlib.sha256(lines.encode()).hexdigest()


def test_cache_gives_back_what_was_written():
    arrays = {"a": np.arange(5, dtype=np.uint8), "b": np.array(["x", "yz"])}
    files.write_cache("written", arrays)
    found = files.read_cache("written")
    assert found is not None and found.keys() == arrays.keys()
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values)
    assert files.read_cache("absent") is None


@pytest.mark.parametrize("keep", [0, 10, -40], ids=["empty", "head", "cut"])
def test_damaged_cache_is_reported_and_ignored(keep):
    key = f"damaged{keep}"
    files.write_cache(key, {"a": np.arange(500)})
    path = files.cache_path(key)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.warns(UserWarning, match="damaged cache"):
        assert files.read_cache(key) is None


def test_flipped_byte_in_cache_is_reported():
    files.write_cache("flipped", {"a": np.random.default_rng(0).bytes(999)})
    path = files.cache_path("flipped")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged cache"):
        assert files.read_cache("flipped") is None


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        files.write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_cache_only_warns(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("NMN_CACHE_DIR", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cache not written"):
        files.write_cache("key", {"a": np.zeros(1)})


def test_ink_is_255_and_paper_0(tmp_path):
    pixels = np.full((105, 105), 255, np.uint8)
    pixels[:, :52] = 0
    Image.fromarray(pixels).convert("1").save(tmp_path / "image.png")
    image = files.decode_ink((tmp_path / "image.png").read_bytes())
    assert image.shape == (28, 28) and image.dtype == np.uint8
    assert (image[:, :10] == 255).all() and (image[:, 18:] == 0).all()
