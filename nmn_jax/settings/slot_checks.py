"""Which slots may be read and what is kept of them: rules between a model's fields."""

from __future__ import annotations

from typing import Any

from nmn_jax.memory.write_rules import WRITE_RULES, OneHotRule

# A rule that needs to know where the key ends.
SAME_VALUE = "same_value"
ONE_HOT = (
    *(name for name, rule in WRITE_RULES.items() if isinstance(rule, OneHotRule)),
    SAME_VALUE,
)
# What a fast path's own scan is; `auto` is the quickest of what there is.
SCANS = ("auto", "plain")


def check_reads(settings: Any) -> None:
    """Raises ValueError for reads and gradients that the memory does not allow."""
    if settings.write_rule not in ONE_HOT:
        for field, given in (("gradients", "journal"), ("reads", settings.reads)):
            if given and getattr(settings, field) == given:
                raise ValueError(
                    f"model.{field}={given!r} with write_rule={settings.write_rule!r}: "
                    "needs a rule that changes one slot at a time; choose one of "
                    f"{', '.join(ONE_HOT)}"
                )
    if settings.reads > settings.slots:
        raise ValueError(
            f"model.reads={settings.reads} of model.slots={settings.slots}: must not "
            "be more than there are; 0 reads all"
        )
    if settings.reads and settings.compose == "query_mem_weights":
        raise ValueError(
            f"model.reads={settings.reads} with compose='query_mem_weights': weights "
            "of a few slots do not say which ones; choose compose 'query_mem'"
        )
    if settings.search != "exact" and not settings.reads:
        raise ValueError(
            f"model.search={settings.search!r} with model.reads=0: all slots are read "
            "and none is searched for; give reads, or leave search out"
        )
    if settings.search == "signs" and settings.similarity == "euclidean":
        raise ValueError(
            "model.search='signs' with similarity='euclidean': signs compare "
            "directions; choose similarity 'cosine', or search 'exact'"
        )


def check_gradients(gradients: str, sg: Any) -> None:
    """Raises ValueError for gradients that the scan of a fast path does not keep: one
    that writes or asks with the weights of the moment runs step by step."""
    together = sg.writer == "fast" or "input" in sg.controllers
    if sg.use in ("fast", "both") and together and gradients not in SCANS:
        raise ValueError(
            f"model.gradients={gradients!r} with sg.use={sg.use!r}: has no effect, the "
            "fast path adapts in a scan of its own; choose one of "
            f"{', '.join(SCANS)}, or sg.writer 'slow' with sg.controllers that do not "
            "include 'input', or sg.use 'off' or 'decoupled'"
        )
