"""Trains on all devices of a machine, or of several, each of which computes a part of every batch.

On TensorFlow `tf.distribute.MirroredStrategy` does it, for one machine. On JAX `keras.distribution` does it, for one or
several machines: each runs the same command with its own `--rank`.
"""

import contextlib
import dataclasses

import keras

# Seconds that hosts wait for each other at the start, and that one may be silent before JAX ends the others.
START, SILENCE = 60, 20


@dataclasses.dataclass(frozen=True)
class Share:
    """What this process does of a training: host number `rank` of so many `hosts`, with the callbacks that it needs."""

    rank: int = 0
    hosts: int = 1
    callbacks: tuple = ()

    @property
    def is_first(self):
        """Whether this process writes the run's files."""
        return self.rank == 0

    def of(self, batches):
        """This host's part of every batch: the images that are its own, in the batch's order."""
        return batches if self.hosts == 1 else self._parts(batches)

    def _parts(self, batches):
        for batch in batches:
            size = len(batch[0]) // self.hosts
            own = slice(self.rank * size, (self.rank + 1) * size)
            yield tuple(keras.ops.convert_to_numpy(values)[own] for values in batch)


ALONE = Share()


@contextlib.contextmanager
def mirrored(arguments, batch_size):
    """All devices of one machine, with TensorFlow."""
    import tensorflow as tf

    if arguments.hosts:
        raise ValueError("--hosts needs KERAS_BACKEND=jax: Keras 3 does not train on several hosts with TensorFlow.")
    strategy = tf.distribute.MirroredStrategy()
    check_batch_size(batch_size, strategy.num_replicas_in_sync)
    with strategy.scope():
        yield ALONE


@contextlib.contextmanager
def data_parallel(arguments, batch_size):
    """All devices of one or several machines, with JAX."""
    import jax

    hosts = arguments.hosts or [""]
    if len(hosts) > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        waits = {"initialization_timeout": START, "heartbeat_timeout_seconds": SILENCE}
        jax.distributed.initialize(hosts[0], len(hosts), arguments.rank, **waits)
    check_batch_size(batch_size, len(jax.devices()))
    distribution = DataParallelTraining(auto_shard_dataset=False)
    whole_batches = keras.callbacks.LambdaCallback(
        on_test_begin=lambda logs: setattr(distribution, "evaluating", True),
        on_test_end=lambda logs: setattr(distribution, "evaluating", False),
    )
    with distribution.scope():
        yield Share(arguments.rank, len(hosts), (whole_batches,))


ENGINES = {"tensorflow": mirrored, "jax": data_parallel}


def several_devices(arguments, batch_size):
    """A context in which networks are trained on the devices that `arguments` ask for. Gives this process's `Share`."""
    hosts, backend = arguments.hosts or [""], keras.backend.backend()
    if arguments.rank >= len(hosts):
        allowed = f"less than {len(hosts)}, the number of --hosts" if arguments.hosts else "0 without --hosts"
        raise ValueError(f"--rank must be {allowed}. Received: {arguments.rank}")
    if not arguments.distribute:
        if arguments.hosts:
            raise ValueError("--hosts must go with --distribute.")
        return contextlib.nullcontext(ALONE)
    if backend not in ENGINES:
        raise ValueError(f"--distribute needs KERAS_BACKEND to be {' or '.join(ENGINES)}. Received: {backend}")
    return ENGINES[backend](arguments, batch_size)


def check_batch_size(batch_size, count):
    """Raises a `ValueError` unless so many devices can have parts of the same size."""
    if batch_size % count:
        raise ValueError(f"--batch-size must be a multiple of {count}, the number of devices. Received: {batch_size}")


class DataParallelTraining(keras.distribution.DataParallel):
    """Every device has a part of each batch in training; in evaluation all of it, for the last one may be smaller."""

    evaluating = False

    def get_data_layout(self, data_shape):
        """Where which part of a batch goes."""
        if self.evaluating:
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)
        return super().get_data_layout(data_shape)
