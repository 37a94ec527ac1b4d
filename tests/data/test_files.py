import functools
import hashlib
import pathlib
import zipfile

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


FORMS = {"a": ((500,), "i4")}


def write_small(key):
    arrays = {"a": np.random.default_rng(0).integers(0, 999, 500, np.int32)}
    files.write_cache(key, arrays)
    return arrays, files.cache_path(key)


def test_cache_gives_back_what_was_written():
    arrays = {"a": np.arange(5, dtype=np.uint8), "b": np.array(["x", "yz"])}
    files.write_cache("written", arrays)
    found = files.read_cache("written", {"a": ((5,), "u1"), "b": ((2,), "U")})
    assert found is not None and found.keys() == arrays.keys()
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values)
    assert files.read_cache("absent", {}) is None


def _cut(path, arrays, keep):
    path.write_bytes(path.read_bytes()[:keep])


def _flipped(path, arrays):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _no_digest(path, arrays):
    np.savez_compressed(path, **arrays)


def _no_zip(path, arrays):
    with path.open("wb") as file:
        np.save(file, arrays["a"])


def _text(path, arrays):
    path.write_text("not a cache")


def _objects(path, arrays):
    np.savez(path, a=np.array([{}], object))


def _other_packing(path, arrays):
    """A member in a compression that Python does not know."""
    content = path.read_bytes()
    deflated = zipfile.ZIP_DEFLATED.to_bytes(2, "little")
    path.write_bytes(content.replace(b"\0\0" + deflated, b"\0\0\x61\0"))


def _of_another_key(path, arrays):
    files.write_cache("another key", arrays)
    path.write_bytes(files.cache_path("another key").read_bytes())


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (functools.partial(_cut, keep=0), ""),
        (functools.partial(_cut, keep=10), ""),
        (functools.partial(_cut, keep=-40), ""),
        (_flipped, ""),
        (_no_zip, "one array, no npz"),
        (_text, ""),
        (_objects, "Object arrays cannot be"),
        (_other_packing, "That compression method is not"),
        (_no_digest, "its content is not what was written"),
        (_of_another_key, "its content is not what was written"),
    ],
)
def test_a_cache_that_is_not_as_written_is_reported_and_ignored(damage, cause):
    arrays, path = write_small("damaged")
    damage(path, arrays)
    with pytest.warns(UserWarning, match=f"damaged cache, made anew .{cause}"):
        assert files.read_cache("damaged", FORMS) is None


@pytest.mark.parametrize("form", [((250, 2), "i4"), ((500,), "f4")])
def test_a_cache_of_other_form_is_not_used(form):
    write_small("form")
    with pytest.warns(UserWarning, match=r"'a': .* belong"):
        assert files.read_cache("form", {"a": form}) is None
    assert files.read_cache("form", FORMS) is not None


def test_encrypted_and_strangely_packed_zips_are_named(tmp_path, write_zip):
    path = tmp_path / "omniglot" / "images.zip"
    path.parent.mkdir()
    write_zip(path, {"a.png": b"x" * 99})
    plain = path.read_bytes()
    local, central = plain.index(b"PK\3\4"), plain.index(b"PK\1\2")
    for offset, value in ((6, 1), (8, 97)):  # flags: encrypted; method: not one known
        changed = bytearray(plain)
        changed[local + offset] = changed[central + offset + 2] = value
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"images.zip: not a readable zip .*fetch"):
            files.read_zip(path, ".png")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(b"")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ValueError, match="a.zip: may not be read; change"):
        files.require("omniglot", ["a.zip"], directory=tmp_path, offline="glyphs")


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
