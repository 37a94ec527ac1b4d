"""What every test relies on: eight made-up CPU devices, shape checks, a cache."""

import gc
import itertools
import os
import pathlib
import tempfile

DEVICES = 8
_XLA_FLAGS = f"--xla_force_host_platform_device_count={DEVICES}"


def _cache_directory() -> pathlib.Path:
    """Where compiled programs outlive a test run, out of the checkout."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    directory = pathlib.Path(home) / "nmn_jax" / "xla"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        directory = pathlib.Path(tempfile.gettempdir()) / "nmn_jax_xla"
    return directory


# The environment is read when jax is imported, and passed on to programs a test starts.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_XLA_FLAGS}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_cache_directory()))
# Most are single operations of 30 ms, forgotten and compiled again by each process.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ["NMN_CPU_TUNING"] = "off"
_BESIDE = pathlib.Path(__file__).parents[2] / "shared" / "data"
if "NMN_DATA_DIR" not in os.environ and _BESIDE.is_dir():
    os.environ["NMN_DATA_DIR"] = str(_BESIDE)

import jax
import jaxtyping
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
# Shapes in signatures are enforced from here on; has to precede the import of nmn_jax.
jaxtyping.install_import_hook("nmn_jax", "beartype.beartype")


# A process has 65,530 memory maps on Linux. Every compiled program takes some, and one
# without any left dies of a segmentation fault. Counting half of them takes 25 ms.
_MAPS = pathlib.Path("/proc/self/maps")
_MANY, _EVERY = 30_000, 20
_tests = itertools.count(1)


@pytest.fixture(autouse=True)
def _room_for_programs():
    """Forgets compiled programs now and then, if a process has many."""
    yield
    if next(_tests) % _EVERY or not _MAPS.exists():
        return
    if _MAPS.read_bytes().count(b"\n") > _MANY:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def key() -> jax.Array:
    """A typed key, the same in every test."""
    return jax.random.key(0)


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """The folder of the real data sets."""
    if "NMN_DATA_DIR" not in os.environ:
        pytest.skip(f"no real data: NMN_DATA_DIR is not set, {_BESIDE} does not exist")
    return pathlib.Path(os.environ["NMN_DATA_DIR"])
