"""Where data files lie, how they are read and checked, and the cache of arrays."""

import hashlib
import io
import lzma
import os
import pathlib
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

# What zipfile raises for damage, for members that are encrypted (RuntimeError) and for
# other compressions (NotImplementedError).
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError,
    ValueError, struct.error,
)  # fmt: skip
_DIGEST = "content_sha256"  # the entry of a cache file beside its arrays

Form = tuple[tuple[int, ...], str]  # shape and kind of dtype, such as "u1" or "U"


def cache_dir() -> pathlib.Path:
    """``NMN_CACHE_DIR``, or ``~/.cache/nmn_jax``."""
    chosen = os.environ.get("NMN_CACHE_DIR")
    return pathlib.Path(chosen) if chosen else pathlib.Path.home() / ".cache/nmn_jax"


def data_dir(name: str, directory: str | os.PathLike | None = None) -> pathlib.Path:
    """Folder of one data set.

    Args:
        name: the data set, which is also the name of its folder.
        directory: the folder itself; by default ``NMN_DATA_DIR/name``, and where that
            variable is not set ``data/name`` in the cache folder.
    """
    if directory is not None:
        return pathlib.Path(directory)
    chosen = os.environ.get("NMN_DATA_DIR")
    return (pathlib.Path(chosen) if chosen else cache_dir() / "data") / name


def require(
    name: str,
    names: Iterable[str],
    *,
    directory: str | os.PathLike | None,
    offline: str,
    obtain: str = "download the official files with "
    "`python -m nmn_jax.data.fetch {name}`",
) -> list[pathlib.Path]:
    """Paths of the files of one data set.

    Args:
        name: the data set.
        names: the files it needs.
        directory: as for ``data_dir``.
        offline: the choice that works without this data set, for the message.
        obtain: how to come by the files, for the message.

    Raises:
        FileNotFoundError: a file is missing; the message says what to do.
        ValueError: a file may not be read.
    """
    folder = data_dir(name, directory)
    paths = [folder / file for file in names]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{name}: {', '.join(missing)} not found in {folder}. "
            f"Set NMN_DATA_DIR to the folder that holds {name}/, or "
            f"{obtain.format(name=name)}. "
            f"Without the files and without a network, use {offline}."
        )
    for path in paths:
        if not os.access(path, os.R_OK):
            raise ValueError(f"{path}: may not be read; change its permissions")
    return paths


def damaged(path: pathlib.Path, given: str) -> ValueError:
    """The error for a file with wrong content."""
    return ValueError(
        f"{path}: {given}. The file is damaged or is not the official one; delete it "
        f"and fetch it again (`python -m nmn_jax.data.fetch {path.parent.name}`)."
    )


def read_zip(path: pathlib.Path, suffix: str | tuple[str, ...]) -> dict[str, bytes]:
    """Members of a zip whose names end in ``suffix``, in sorted order.

    Raises:
        ValueError: the zip or one of its members is damaged, encrypted, or packed in a
            way that Python cannot unpack.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(n for n in archive.namelist() if n.endswith(suffix))
            return {name: archive.read(name) for name in names}
    except _UNREADABLE as error:
        raise damaged(path, f"not a readable zip ({error})") from error


def blob_digest(members: Mapping[str, bytes]) -> str:
    """sha256 of the lines ``<git blob SHA-1>  <path>`` in sorted order of paths."""
    digest = hashlib.sha256()
    for name in sorted(members):
        content = members[name]
        header = f"blob {len(content)}\0".encode()
        blob = hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
        digest.update(f"{blob}  {name}\n".encode())
    return digest.hexdigest()


def decode_ink(png: bytes, size: int = 28) -> np.ndarray:
    """A black-on-white PNG as uint8 ``[size, size]``, LANCZOS-resized, ink 255."""
    with Image.open(io.BytesIO(png)) as image:
        small = image.convert("L").resize((size, size), Image.Resampling.LANCZOS)
    return 255 - np.asarray(small)


def content_key(paths: Iterable[pathlib.Path], recipe: str) -> str:
    """Key of a cached array: the recipe's name and the sha256 of its inputs."""
    digest = hashlib.sha256(recipe.encode())
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{recipe}-{digest.hexdigest()[:24]}"


def cache_path(key: str) -> pathlib.Path:
    """File in which the arrays under ``key`` are cached."""
    return cache_dir() / f"{key}.npz"


def read_cache(key: str, forms: Mapping[str, Form]) -> dict[str, np.ndarray] | None:
    """Cached arrays; None if there are none, or others than were written.

    The cache only saves time, so whatever is wrong with the file ends in a warning and
    in arrays made anew.

    Args:
        key: what they were written under; part of the digest.
        forms: shape and kind of dtype of every array.
    """
    path = cache_path(key)
    if not path.is_file():
        return None
    try:
        return _checked(path, key, forms)
    except Exception as error:  # a made-up file can raise anything while it is parsed
        cause = (str(error) or type(error).__name__).splitlines()[0][:160]
        warnings.warn(f"{path}: damaged cache, made anew ({cause})", stacklevel=2)
        return None


def _checked(
    path: pathlib.Path, key: str, forms: Mapping[str, Form]
) -> dict[str, np.ndarray]:
    arrays = read_npz(path)
    if str(arrays.pop(_DIGEST, "")) != _content_digest(key, arrays):
        raise ValueError("its content is not what was written")
    found = {name: (array.shape, _kind(array)) for name, array in arrays.items()}
    if found != dict(forms):
        raise ValueError(f"{found} where {dict(forms)} belong")
    return arrays


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file, none of them pickled.

    Raises:
        Exception: of any kind, if the file is not one that NumPy wrote.
    """
    stored = np.load(path, allow_pickle=False)
    if not isinstance(stored, np.lib.npyio.NpzFile):
        raise ValueError("one array, no npz")
    with stored:
        return {name: stored[name] for name in stored.files}


def write_cache(key: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Cache arrays with a digest; the file appears whole or not at all.

    A cache folder that cannot be written costs time at the next start, nothing else,
    so it only warns.
    """
    path = cache_path(key)
    entries: dict[str, Any] = {**arrays, _DIGEST: _content_digest(key, arrays)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: np.savez_compressed(file, **entries))
    except OSError as error:
        warnings.warn(f"{path}: cache not written ({error})", stacklevel=2)


def _content_digest(key: str, arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 of the key and of every array's name, dtype, shape and values."""
    digest = hashlib.sha256(key.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _kind(array: np.ndarray) -> str:
    """`u1` for bytes, `U` for text of any length."""
    return "U" if array.dtype.kind == "U" else array.dtype.str[1:]


def write_atomically(path: pathlib.Path, write: Callable[[BinaryIO], None]) -> None:
    """Call ``write(file)`` on a temporary file beside ``path``, then rename it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
