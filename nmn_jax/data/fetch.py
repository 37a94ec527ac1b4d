"""Download official data files: ``python -m nmn_jax.data.fetch omniglot``.

They go into the data set's folder under ``NMN_DATA_DIR`` (or in the cache folder, where
that variable is not set), where the loaders look for them. What is there already stays.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from nmn_jax.data import files, lake, mnist, omniglot, tfds_source


class Source(NamedTuple):
    """What there is to fetch, and the readers that check it."""

    builder: Any
    urls: dict[str, str]
    readers: tuple[Callable[[pathlib.Path], Any], ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch one data set and read it once; 0 if all is there."""
    parser = argparse.ArgumentParser(prog="python -m nmn_jax.data.fetch")
    parser.add_argument("name", choices=sorted(_SOURCES))
    parser.add_argument("--directory", help="folder of the files")
    chosen = parser.parse_args(arguments)
    folder = files.data_dir(chosen.name, chosen.directory)
    try:
        fetch(chosen.name, folder)
    except (ConnectionError, ValueError) as error:
        print(f"{chosen.name}: {error}", file=sys.stderr)
        return 1
    print(f"{chosen.name}: complete and checked in {folder}")
    return 0


def fetch(name: str, folder: pathlib.Path) -> None:
    """Download what is missing in ``folder``, then read everything there.

    Raises:
        ConnectionError: files are missing and there is no network.
        ValueError: a file is damaged or has other content than the official one.
    """
    source = _SOURCES[name]()
    missing = {
        file: url for file, url in source.urls.items() if not (folder / file).is_file()
    }
    if missing:
        tfds_source.place(source.builder, missing, folder)
    for reader in source.readers:
        reader(folder)


def _omniglot() -> Source:
    from nmn_jax.data import tfds_omniglot

    return Source(
        tfds_omniglot.OmniglotCharacters,
        tfds_omniglot.URLS | tfds_omniglot.LAKE_URLS,
        (omniglot.load, lake.load),
    )


def _mnist() -> Source:
    from nmn_jax.data import tfds_mnist

    return Source(tfds_mnist.MnistDigits, tfds_mnist.URLS, (mnist.load,))


_SOURCES: dict[str, Callable[[], Source]] = {"omniglot": _omniglot, "mnist": _mnist}


if __name__ == "__main__":
    sys.exit(main())
