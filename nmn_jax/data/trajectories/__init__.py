"""Tracks of cyclists and pedestrians: read, cleaned, cut into windows and scaled."""

from nmn_jax.data.trajectories import sdd as sdd
from nmn_jax.data.trajectories.records import LABELS as LABELS
from nmn_jax.data.trajectories.records import Track as Track
from nmn_jax.data.trajectories.records import Tracks as Tracks
from nmn_jax.data.trajectories.records import concatenate as concatenate
from nmn_jax.data.trajectories.records import from_tracks as from_tracks
from nmn_jax.data.trajectories.records import select as select
