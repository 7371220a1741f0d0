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
    if pipe := os.environ.pop(WATCHED, None):
        threading.Thread(target=end_with_the_watcher, args=[int(pipe)], daemon=True).start()
        return
    # The watcher writes nothing into it; it is closed when the watcher is no more.
    pipe, _ = os.pipe()
    command = [sys.executable, *sys.orig_argv[1:]]
    with subprocess.Popen(command, env={**os.environ, WATCHED: str(pipe)}, pass_fds=[pipe]) as process:
        try:
            code = process.wait()
        except BaseException:
            process.kill()
            raise
    if code < 0:
        say(sentence if code == -signal.SIGABRT else f"Ended by signal {-code}, {signal.strsignal(-code)}.")
    sys.exit(2 if code < 0 else code)


def end_with_the_watcher(pipe):
    """Ends this process when the watcher's end of the pipe is closed."""
    os.read(pipe, 1)
    os._exit(1)


def say(sentence):
    """Writes a sentence where and as `ddnn_keras.command_line.run` does."""
    print(f"{os.path.basename(sys.argv[0])}: {' '.join(sentence.split())}", file=sys.stderr, flush=True)
