"""Runs this command in a process of its own, so that there is someone left to say what ended it.

JAX ends a process whose fellow hosts are lost with `abort`, which no `except` sees.
"""

import os
import signal
import subprocess
import sys
import threading

WATCHED = "DDNN_KERAS_WATCHED"


def watch_this_process(sentence):
    """Goes on in a new process that runs the same command; this one waits for it and ends with its exit code.

    The new process returns from here. It ends when this one does, however that comes about.

    Args:
        sentence: What is said, with exit code 2, if the new process aborts.
    """
    if os.environ.pop(WATCHED, None):
        threading.Thread(target=end_with_the_watcher, daemon=True).start()
        return
    command = [sys.executable, *sys.orig_argv[1:]]
    with subprocess.Popen(command, env={**os.environ, WATCHED: "1"}, stdin=subprocess.PIPE) as process:
        try:
            code = process.wait()
        except BaseException:
            process.kill()
            raise
    if code < 0:
        print(sentence if code == -signal.SIGABRT else f"Ended by {signal.Signals(-code).name}.", file=sys.stderr)
    sys.exit(2 if code < 0 else code)


def end_with_the_watcher():
    """Ends this process when the other end of its input is closed, as it is when the watcher is no more."""
    # Not through `sys.stdin`, whose lock Python wants when it ends.
    os.read(0, 1)
    os._exit(1)
