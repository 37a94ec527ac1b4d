"""MNIST as a tensorflow-datasets builder that needs no TensorFlow.

::

    builder = tfds_mnist.MnistDigits(file_format="array_record")
    builder.download_and_prepare()
    source = builder.as_data_source("train")
"""

import numpy as np
import tensorflow_datasets as tfds

from nmn_jax.data import mnist, tfds_source

_SOURCE = "https://storage.googleapis.com/cvdf-datasets/mnist/"
URLS = {name: _SOURCE + name for name in mnist.FILES}


class MnistDigits(tfds.core.GeneratorBasedBuilder):
    """Splits ``train`` (60,000) and ``test`` (10,000); ink is 255."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put in: " + ", ".join(URLS.values())

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=(28, 28), dtype=np.uint8),
                "label": tfds.features.Scalar(dtype=np.int32),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        paths = tfds_source.locate(dl_manager, URLS)
        arrays = [
            mnist.read_idx(paths[n], expected) for n, expected in mnist.FILES.items()
        ]
        return {
            "train": self._generate_examples(*arrays[:2]),
            "test": self._generate_examples(*arrays[2:]),
        }

    def _generate_examples(self, images, labels):
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield number, {"image": image, "label": int(label)}
