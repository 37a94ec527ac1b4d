"""What the tensorflow-datasets builders share: the official files, at hand or fetched.

The builders need tensorflow-datasets but not TensorFlow, and only they import it.
"""

import pathlib
import shutil
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

NETWORK_SECONDS = 2.0


def locate(downloads: Any, urls: Mapping[str, str]) -> dict[str, pathlib.Path]:
    """Official files by name, from the manual folder or else downloaded.

    Files in the manual folder need not be the authors' own archives: the readers check
    what is inside.

    Args:
        downloads: the ``DownloadManager`` of tensorflow-datasets.
        urls: where each file comes from.

    Raises:
        ConnectionError: files are missing and there is no network.
    """
    try:
        folder = pathlib.Path(downloads.manual_dir)
    except AssertionError:  # no manual folder, or an empty one
        return fetch(downloads, urls)
    at_hand = {name: folder / name for name in urls if (folder / name).is_file()}
    missing = {name: url for name, url in urls.items() if name not in at_hand}
    return at_hand | (fetch(downloads, missing) if missing else {})


def fetch(downloads: Any, urls: Mapping[str, str]) -> dict[str, pathlib.Path]:
    """Download files; size and sha256 are checked by tensorflow-datasets.

    Raises:
        ConnectionError: there is no network, or the host refuses.
        ValueError: a file arrived with other content than the official one.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import download_manager

    check_network(urls)
    try:
        paths = downloads.download(dict(urls))
    except tfds.download.DownloadError as error:
        raise ConnectionError(f"download failed ({error}); try again later") from error
    except download_manager.NonMatchingChecksumError as error:
        raise ValueError(f"downloaded file is not the official one: {error}") from error
    return {name: pathlib.Path(path) for name, path in paths.items()}


def place(builder: Any, urls: Mapping[str, str], folder: pathlib.Path) -> None:
    """Download files with a builder's checksums and put them into a folder.

    Raises:
        ConnectionError: there is no network, or the host refuses.
        ValueError: a file arrived with other content than the official one.
    """
    import tensorflow_datasets as tfds

    check_network(urls)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / "unfinished_downloads"
    manager = tfds.download.DownloadManager(
        download_dir=unfinished, url_infos=builder.url_infos, dataset_name=builder.name
    )
    for name, path in fetch(manager, urls).items():
        path.replace(folder / name)
    shutil.rmtree(unfinished)


def check_network(urls: Mapping[str, str]) -> None:
    """Fail within two seconds where tensorflow-datasets would retry for minutes.

    Raises:
        ConnectionError: a host cannot be reached; the message says what to do by hand.
    """
    proxies = urllib.request.getproxies()
    for url in urls.values():
        parts = urllib.parse.urlsplit(url)
        through = urllib.parse.urlsplit(proxies.get(parts.scheme, url))
        port = through.port or {"https": 443}.get(through.scheme, 80)
        if not reachable(through.hostname or "", port):
            raise ConnectionError(
                f"{through.hostname} does not answer. Without a network, download by "
                "hand where there is one, and put into the data set's folder under "
                "NMN_DATA_DIR (or into the builder's manual_dir): "
                + ", ".join(f"{name} from {url}" for name, url in urls.items())
            )


def reachable(host: str, port: int, seconds: float = NETWORK_SECONDS) -> bool:
    """Whether a connection opens in time, the look-up of the name included."""
    opened = threading.Event()

    def connect():
        try:
            socket.create_connection((host, port), seconds).close()
        except OSError:
            return
        opened.set()

    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(seconds)
    return opened.is_set()
