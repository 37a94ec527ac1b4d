import functools
import http.server
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums

from nmn_jax.data import (
    fetch,
    files,
    lake,
    mnist,
    omniglot,
    tfds_mnist,
    tfds_omniglot,
    tfds_source,
)


@pytest.fixture
def server(tmp_path):
    """Base address of a file server on this machine, and its folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/", folder
        running.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """No line for each request."""


@pytest.fixture
def closed_port():
    """A port of this machine on which nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


class Builder:
    """What ``place`` needs of a builder."""

    name = "served"

    def __init__(self, url_infos):
        self.url_infos = url_infos


def test_checksums_cover_all_files():
    infos = tfds_omniglot.OmniglotCharacters.url_infos
    urls = tfds_omniglot.URLS | tfds_omniglot.LAKE_URLS | tfds_mnist.URLS
    assert infos.keys() == set(urls.values())
    assert {info.filename for info in infos.values()} == urls.keys()
    assert infos[tfds_omniglot.LAKE_URLS[lake.FILE]].checksum == lake.SHA256


def test_files_are_downloaded_and_checked(server, tmp_path):
    address, served = server
    (served / "a.zip").write_bytes(b"some bytes")
    urls = {"a.zip": address + "a.zip"}
    info = checksums.compute_url_info(served / "a.zip")
    target = tmp_path / "target"
    tfds_source.place(Builder({urls["a.zip"]: info}), urls, target)
    assert (target / "a.zip").read_bytes() == b"some bytes"
    assert [path.name for path in target.iterdir()] == ["a.zip"]


def test_other_bytes_than_the_official_are_refused(server, tmp_path):
    address, served = server
    (served / "b.zip").write_bytes(b"some bytes")
    urls = {"b.zip": address + "b.zip"}
    info = checksums.compute_url_info(served / "b.zip")
    (served / "b.zip").write_bytes(b"other bytes")
    with pytest.raises(ValueError, match="not the official one"):
        tfds_source.place(Builder({urls["b.zip"]: info}), urls, tmp_path / "target")
    assert not (tmp_path / "target/b.zip").exists()


def test_absent_file_is_a_connection_error(server, tmp_path):
    urls = {"c.zip": server[0] + "c.zip"}
    with pytest.raises(ConnectionError, match="download failed"):
        tfds_source.place(Builder({}), urls, tmp_path)


def test_no_network_is_noticed_at_once(closed_port, tmp_path):
    urls = {"a.zip": f"http://127.0.0.1:{closed_port}/a.zip"}
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="a.zip from http://127.0.0.1"):
        tfds_source.place(Builder({}), urls, tmp_path / "target")
    assert time.monotonic() - start < 3
    assert not (tmp_path / "target").exists()


def test_slow_name_look_up_does_not_hold_up(monkeypatch):
    over = threading.Event()

    def look_up(*_):
        over.wait(30)
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "create_connection", look_up)
    start = time.monotonic()
    assert not tfds_source.reachable("somewhere", 443, seconds=0.2)
    assert time.monotonic() - start < 2
    over.set()


def test_a_proxy_is_asked_instead_of_the_host(server, closed_port, monkeypatch):
    urls = {"a.zip": f"http://127.0.0.1:{closed_port}/a.zip"}
    monkeypatch.setenv("http_proxy", server[0])
    tfds_source.check_network(urls)


def prepare(builder, folder):
    config = tfds.download.DownloadConfig(manual_dir=str(folder))
    builder.download_and_prepare(download_config=config)
    return builder


def test_omniglot_builder_gives_the_loaders_images(small_omniglot, tmp_path):
    builder = tfds_omniglot.OmniglotCharacters(
        data_dir=str(tmp_path), file_format="array_record"
    )
    source = prepare(builder, small_omniglot).as_data_source()
    data = omniglot.load(small_omniglot)
    assert {name: len(rows) for name, rows in source.items()} == {
        "background": 60,
        "evaluation": 20,
    }
    for row in [*source["background"], *source["evaluation"]]:
        assert row["character"].decode() == data.characters[row["label"]]
        expected = data.images[row["label"], row["drawer"] - 1]
        assert (row["image"] == expected).all()


def test_builder_without_files_and_network_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_source, "reachable", lambda *_: False)
    builder = tfds_mnist.MnistDigits(data_dir=str(tmp_path), file_format="array_record")
    with pytest.raises(ConnectionError, match="t10k-labels-idx1-ubyte.gz from https"):
        prepare(builder, tmp_path / "empty")


def test_mnist_builder_gives_the_loaders_images(small_mnist, tmp_path):
    builder = tfds_mnist.MnistDigits(
        data_dir=str(tmp_path / "prepared"), file_format="array_record"
    )
    rows = list(prepare(builder, small_mnist).as_data_source("train"))
    data = mnist.load(small_mnist)
    assert sorted(row["label"] for row in rows) == sorted(data.train_labels)
    known = {image.tobytes() for image in data.train_images}
    assert {row["image"].tobytes() for row in rows} == known


def test_fetch_command_checks_what_is_there(small_omniglot, monkeypatch, capsys):
    monkeypatch.setattr(lake, "load", lambda folder: None)
    (small_omniglot / lake.FILE).write_bytes(b"")
    arguments = ["omniglot", "--directory", str(small_omniglot)]
    assert fetch.main(arguments) == 0
    assert str(small_omniglot) in capsys.readouterr().out
    path = small_omniglot / "images_background.zip"
    path.write_bytes(path.read_bytes()[:99])
    assert fetch.main(arguments) == 1
    assert "images_background.zip: not a readable zip" in capsys.readouterr().err


def test_fetch_command_gets_only_what_is_missing(small_omniglot, monkeypatch):
    asked = {}

    def place(builder, urls, folder):
        asked.update(urls)
        (pathlib.Path(folder) / lake.FILE).write_bytes(b"")

    monkeypatch.setattr(tfds_source, "place", place)
    monkeypatch.setattr(lake, "load", lambda folder: None)
    assert fetch.main(["omniglot", "--directory", str(small_omniglot)]) == 0
    assert asked == tfds_omniglot.LAKE_URLS


def test_fetch_command_without_network(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tfds_source, "reachable", lambda *_: False)
    monkeypatch.setenv("NMN_DATA_DIR", str(tmp_path))
    assert fetch.main(["mnist"]) == 1
    assert "NMN_DATA_DIR" in capsys.readouterr().err
    assert files.data_dir("mnist") == tmp_path / "mnist"


def test_loaders_do_not_import_tensorflow_datasets():
    code = (
        "import sys; from nmn_jax.data import omniglot, splits, episodes, glyphs, lake,"
        " mnist, fetch; assert not {'tensorflow', 'tensorflow_datasets', 'sklearn'} &"
        " sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_builders_do_not_import_tensorflow():
    code = (
        "import sys; from nmn_jax.data import tfds_omniglot, tfds_mnist;"
        " assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
