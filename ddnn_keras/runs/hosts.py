"""Connects the hosts of one training with JAX, and ends all of them with one sentence when one is lost."""

import collections
import contextlib
import os
import re
import socket
import sys
import threading
import traceback

from ddnn_keras.runs.watched_process import say, watch_this_process

# How long hosts wait for each other at the start, and how long one may be silent before it is given up, in seconds.
START = 60
SILENCE = 20

LOST = f"a host was lost, or did not come within {START} s: start all again, with --resume if the run's folder is there"

# What JAX says when that happens: an error's status, or something in its text.
SIGNS_OF_LOSS = "UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED|gloo|nccl|coordination|connection|heartbeat"


@contextlib.contextmanager
def connected(hosts, rank):
    """A context in which JAX sees the devices of all `hosts`, given by their addresses; whatever goes wrong in it ends
    this process at once.

    An orderly end would wait for hosts that are no more, and let the others wait for this one. Only a mistake, which is
    as a rule in what all hosts were told, waits for the others to find it too: JAX aborts whom the first leaves behind.
    """
    import jax

    if rank == 0:
        check_port(hosts[0])
    watch_this_process(f"Aborted by JAX, most likely since {LOST}.")
    try:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            hosts[0], len(hosts), rank, initialization_timeout=START, heartbeat_timeout_seconds=SILENCE
        )
        check_devices(jax.devices())
        yield
    except BaseException as error:
        code = told(error)
        sys.stdout.flush()
        if code == 2 and not by_jax(error):
            parting = threading.Thread(target=jax.distributed.shutdown, daemon=True)
            parting.start()
            parting.join(SILENCE)
        os._exit(code)


def check_port(address):
    """Raises a `ValueError` if another process has the port of this address, without which JAX crashes."""
    port = int(address.rpartition(":")[2])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise ValueError(f"--hosts must begin with a free port of this machine, not {port}: {error}.") from None


def check_devices(devices):
    """Raises a `ValueError` unless every host has as many of the devices as any other."""
    counts = collections.Counter(device.process_index for device in devices)
    if len(set(counts.values())) > 1:
        numbers = ", ".join(f"host {host} has {count}" for host, count in sorted(counts.items()))
        raise ValueError(f"All --hosts must have the same number of devices, but {numbers}.")


def told(error):
    """Tells what ended this process, as `ddnn_keras.command_line.run` would, and gives its exit code."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    if by_jax(error) and re.search(SIGNS_OF_LOSS, str(error), re.IGNORECASE):
        error = ValueError(f"Lost: {LOST}. {error}")
    elif by_jax(error) or not isinstance(error, ValueError | OSError):
        traceback.print_exception(error)
        return 1
    say(str(error))
    return 2


def by_jax(error):
    """Whether it is JAX that raised the error: such begin with the name of a status, and may be of either class."""
    import jax

    return isinstance(error, jax.errors.JaxRuntimeError | ValueError) and bool(re.match("[A-Z_]+: ", str(error)))
