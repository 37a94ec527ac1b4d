"""What a state is made of: names, shapes, dtypes and checksums of its leaves.

Stored beside a checkpoint, so that damage and another structure are told apart.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SHOWN = 8


class DamagedError(RuntimeError):
    """Content that is not what was saved."""


class MismatchError(ValueError):
    """Sound content of another structure than the one asked for."""


def check_global(leaves: Mapping[str, Any]) -> None:
    """Several processes save what lies on the devices of all of them.

    Raises:
      ValueError: for a leaf that lies on those of this process only.
    """
    if jax.process_count() == 1:
        return
    alone = [name for name, leaf in leaves.items() if leaf.is_fully_addressable]
    if alone:
        raise ValueError(
            f"{_some(alone)}: on the devices of this process only, which cannot be "
            "saved by several; place the state by parallel.replicate(mesh, state) "
            "before the first step, or by parallel.settle(state)"
        )


def flatten(tree: Any) -> dict[str, Any]:
    """Leaves by name, such as `params.encoder.0.kernel`.

    Raises:
      ValueError: if a leaf is not a JAX array (or its shape), or two have one name.
    """
    leaves: dict[str, Any] = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "state"
        if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
            raise ValueError(
                f"leaf {name} is a {type(leaf).__name__}; a checkpoint holds JAX "
                "arrays, anything else goes into `extra`"
            )
        if name in leaves:
            raise ValueError(f"two leaves of the state are called {name}; rename one")
        leaves[name] = leaf
    return leaves


def describe(leaves: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Shape, dtype and CRC-32 of every leaf; shapes without values have no CRC."""
    return {
        name: {
            "shape": list(leaf.shape),
            "dtype": str(leaf.dtype),
            "crc": _checksum(leaf),
        }
        for name, leaf in leaves.items()
    }


def seal(**record: Any) -> dict[str, Any]:
    """The record as JSON would give it back, with a checksum of itself."""
    plain = json.loads(json.dumps(record))
    return {**plain, "crc": _record_checksum(plain)}


def unseal(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record without its checksum.

    Raises:
      DamagedError: if the checksum is absent or wrong.
    """
    if not isinstance(record, dict) or "crc" not in record:
        raise DamagedError("the record beside the state has no checksum")
    plain = {name: value for name, value in record.items() if name != "crc"}
    if _record_checksum(plain) != record["crc"]:
        raise DamagedError("the record beside the state has a wrong checksum")
    return plain


def check_structure(
    stored: Mapping[str, Any], target: Mapping[str, Any], *, where: str
) -> None:
    """Compare names, shapes and dtypes with what is wanted.

    Raises:
      MismatchError: naming the leaves that differ.
    """
    wanted = {name: _kind(leaf.shape, leaf.dtype) for name, leaf in target.items()}
    held = {name: _kind(leaf["shape"], leaf["dtype"]) for name, leaf in stored.items()}
    rows = [
        f"{name}: {held.get(name, 'absent')} in the checkpoint, "
        f"{wanted.get(name, 'absent')} in this run"
        for name in sorted(held.keys() | wanted.keys())
        if held.get(name) != wanted.get(name)
    ]
    if rows:
        more = [f"and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
        listed = "\n  ".join([*rows[:SHOWN], *more])
        raise MismatchError(
            f"checkpoint {where} holds another state:\n  {listed}\n"
            "It was saved with another config. Use that config, or another directory "
            "for this one; the checkpoint was left as it is."
        )


def check_content(stored: Mapping[str, Any], leaves: Mapping[str, Any]) -> None:
    """Compare kinds and checksums of what was read with those of what was saved.

    Raises:
      DamagedError: naming the leaves that differ.
    """
    kinds = {name: _kind(leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
    other = [
        f"{name} was read as {kind}"
        for name, kind in kinds.items()
        if kind != _kind(stored[name]["shape"], stored[name]["dtype"])
    ]
    if other:
        raise DamagedError(f"{_some(other)}, which is not what was saved")
    wrong = [
        name
        for name, leaf in leaves.items()
        if stored[name]["crc"] is not None and stored[name]["crc"] != _checksum(leaf)
    ]
    if wrong:
        raise DamagedError(f"wrong checksum of {_some(wrong)}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _kind(shape: Any, dtype: Any) -> str:
    return f"{dtype}[{','.join(map(str, shape))}]"


def _checksum(leaf: Any) -> int | None:
    """CRC-32 of the values; None for a shape, or parts that other processes hold."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return None
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if leaf.is_fully_replicated:
        leaf = leaf.addressable_data(0)
    if not leaf.is_fully_addressable:
        return None
    return zlib.crc32(np.ascontiguousarray(leaf).tobytes())


def _record_checksum(plain: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(plain, sort_keys=True).encode())
