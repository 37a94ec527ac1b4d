"""Tracks of cyclists and pedestrians: read, cleaned, cut into windows and scaled.

tracks, report = trajectories.clean(trajectories.sdd.load(), trajectories.standard())
windows = trajectories.windows(tracks)
draw = trajectories.draw(windows, seed=0)
scale = trajectories.fit(windows.take(draw.train))
scaled = trajectories.frame(scale, windows).scaled(windows.xy)
"""

from nmn_jax.data.trajectories import annotations as annotations
from nmn_jax.data.trajectories import ind as ind
from nmn_jax.data.trajectories import ind_writer as ind_writer
from nmn_jax.data.trajectories import sdd as sdd
from nmn_jax.data.trajectories import synthetic as synthetic
from nmn_jax.data.trajectories import tafbw as tafbw
from nmn_jax.data.trajectories.cleaning import Cleaned as Cleaned
from nmn_jax.data.trajectories.cleaning import Count as Count
from nmn_jax.data.trajectories.cleaning import Rule as Rule
from nmn_jax.data.trajectories.cleaning import Step as Step
from nmn_jax.data.trajectories.cleaning import as_json as as_json
from nmn_jax.data.trajectories.cleaning import clean as clean
from nmn_jax.data.trajectories.cleaning import describe as describe
from nmn_jax.data.trajectories.cleaning import from_json as from_json
from nmn_jax.data.trajectories.cleaning import gaps as gaps
from nmn_jax.data.trajectories.cleaning import jumps as jumps
from nmn_jax.data.trajectories.cleaning import road_users as road_users
from nmn_jax.data.trajectories.cleaning import seen as seen
from nmn_jax.data.trajectories.cleaning import short as short
from nmn_jax.data.trajectories.cleaning import standard as standard
from nmn_jax.data.trajectories.cleaning import standing as standing
from nmn_jax.data.trajectories.cleaning import still_ends as still_ends
from nmn_jax.data.trajectories.cutting import Draw as Draw
from nmn_jax.data.trajectories.cutting import Windows as Windows
from nmn_jax.data.trajectories.cutting import draw as draw
from nmn_jax.data.trajectories.cutting import windows as windows
from nmn_jax.data.trajectories.records import LABELS as LABELS
from nmn_jax.data.trajectories.records import Track as Track
from nmn_jax.data.trajectories.records import Tracks as Tracks
from nmn_jax.data.trajectories.records import concatenate as concatenate
from nmn_jax.data.trajectories.records import from_tracks as from_tracks
from nmn_jax.data.trajectories.records import select as select
from nmn_jax.data.trajectories.resampling import resample as resample
from nmn_jax.data.trajectories.scaling import Frame as Frame
from nmn_jax.data.trajectories.scaling import Scale as Scale
from nmn_jax.data.trajectories.scaling import fit as fit
from nmn_jax.data.trajectories.scaling import frame as frame
from nmn_jax.data.trajectories.scaling import unseen as unseen
