"""Omniglot as a tensorflow-datasets builder that needs no TensorFlow.

::

    builder = tfds_omniglot.OmniglotCharacters(file_format="array_record")
    builder.download_and_prepare()
    source = builder.as_data_source("background")

The library itself reads the official zips (``nmn_jax.data.omniglot``); this is for
pipelines built on tensorflow-datasets or Grain, and for the download.
"""

import pathlib

import numpy as np
import tensorflow_datasets as tfds

from nmn_jax.data import files, lake, omniglot, tfds_source

_SOURCE = "https://github.com/brendenlake/omniglot/raw/master/python/"
URLS = {f"{name}.zip": f"{_SOURCE}{name}.zip" for name in omniglot.ARCHIVES}
LAKE_URLS = {lake.FILE: f"{_SOURCE}one-shot-classification/{lake.FILE}"}


class OmniglotCharacters(tfds.core.GeneratorBasedBuilder):
    """Splits ``background`` (964 characters) and ``evaluation`` (659); ink is 255."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put in: " + ", ".join(URLS.values())

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=(28, 28), dtype=np.uint8),
                "label": tfds.features.Scalar(dtype=np.int32),
                "drawer": tfds.features.Scalar(dtype=np.int32),
                "character": tfds.features.Text(),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        paths = tfds_source.locate(dl_manager, URLS)
        return {
            name.removeprefix("images_"): self._generate_examples(
                paths[f"{name}.zip"], expected
            )
            for name, expected in omniglot.ARCHIVES.items()
        }

    def _generate_examples(self, path: pathlib.Path, expected: omniglot.Archive):
        for name, png in omniglot.read_archive(path, expected).items():
            _, character, label, column = omniglot.parse_member(name)
            yield (
                name,
                {
                    "image": files.decode_ink(png),
                    "label": label,
                    "drawer": column + 1,
                    "character": character,
                },
            )
