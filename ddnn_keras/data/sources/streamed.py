"""A split of a TensorFlow Datasets set that is too large for memory."""

import re

import tensorflow as tf
import tensorflow_datasets as tfds

from ddnn_keras.data.sources.in_memory import InMemory

# Encoded images, about 0.9 GB of ImageNet. The files are shuffled too, and were written in random order.
SHUFFLE_BUFFER = 8192


class Streamed:
    """A split, or a slice of one, that is read from its files in every epoch; images are decoded after the shuffle."""

    def __init__(self, builder, split, image_key, label_key):
        self.builder = builder
        self.split = split
        self.image_key = image_key
        self.label_key = label_key
        self.features = {image_key: True, label_key: True}

    def __len__(self):
        return self.builder.info.splits[self.split].num_examples

    def sample(self, count, seed):
        """The split of the first `count` images: their order is random since the data set was prepared."""
        name = re.match(r"\w+", self.split)[0]
        return Streamed(self.builder, f"{name}[:{count}]", self.image_key, self.label_key)

    def ordered(self):
        """A dataset of encoded images and labels in the files' order."""
        return self._read(shuffle_files=False)

    def shuffled(self, seed):
        """A dataset of encoded images and labels in the order that `seed`, two integers, stands for."""

        def read(seed):
            # Without this the order would depend on the program's global seed too. While a function is traced, as
            # here by flat_map, it sets that function's seed alone.
            tf.random.set_seed(1)
            examples = self._read(shuffle_files=True, shuffle_seed=seed[0], shuffle_reshuffle_each_iteration=False)
            return examples.shuffle(SHUFFLE_BUFFER, seed=seed[1], reshuffle_each_iteration=False)

        return tf.data.Dataset.from_tensors(seed).flat_map(read)

    def in_memory(self):
        """The same split, decoded."""
        decoders = tfds.decode.PartialDecoding(self.features)
        examples = self.builder.as_dataset(split=self.split, decoders=decoders, batch_size=-1)
        return InMemory(examples[self.image_key].numpy(), examples[self.label_key].numpy())

    def _read(self, shuffle_files, **order):
        examples = self.builder.as_dataset(
            split=self.split,
            shuffle_files=shuffle_files,
            decoders=tfds.decode.PartialDecoding(self.features, {self.image_key: tfds.decode.SkipDecoding()}),
            read_config=tfds.ReadConfig(try_autocache=False, skip_prefetch=True, **order),
        )
        return examples.map(lambda example: (example[self.image_key], tf.cast(example[self.label_key], tf.int32)))
