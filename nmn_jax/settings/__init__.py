"""Settings: records that check themselves, presets, and what is built from them."""

from nmn_jax.settings import builders as builders
from nmn_jax.settings import checks as checks
from nmn_jax.settings import presets as presets
from nmn_jax.settings import reader as reader
from nmn_jax.settings import records as records
from nmn_jax.settings import rivals as rivals
from nmn_jax.settings.presets import PRESETS as PRESETS
from nmn_jax.settings.presets import override as override
from nmn_jax.settings.presets import preset as preset
from nmn_jax.settings.presets import resolve as resolve
from nmn_jax.settings.records import AdaptSettings as AdaptSettings
from nmn_jax.settings.records import ForecastSettings as ForecastSettings
from nmn_jax.settings.records import ModelSettings as ModelSettings
from nmn_jax.settings.records import OptimSettings as OptimSettings
from nmn_jax.settings.records import ReplaySettings as ReplaySettings
from nmn_jax.settings.records import Settings as Settings
from nmn_jax.settings.records import SGSettings as SGSettings
from nmn_jax.settings.records import StreamSettings as StreamSettings
from nmn_jax.settings.rivals import MamlPlusSettings as MamlPlusSettings
from nmn_jax.settings.rivals import MamlSettings as MamlSettings
from nmn_jax.settings.rivals import MannSettings as MannSettings
from nmn_jax.settings.rivals import MatchingSettings as MatchingSettings
from nmn_jax.settings.rivals import MetaNetSettings as MetaNetSettings
from nmn_jax.settings.rivals import ReptileSettings as ReptileSettings
from nmn_jax.settings.rivals import SnailSettings as SnailSettings
