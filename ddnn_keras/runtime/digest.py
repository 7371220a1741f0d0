"""The digest at the end of a `.tflite` file. Damage is noticed before anything is computed."""

import hashlib

# It stands in the description too: a file with damage at its end still tells that it had a digest.
MARK = b"DDNN_SHA256"
DIGITS = 64


def with_digest(content):
    """A file's bytes, `MARK` and the digest of both. Interpreters ignore what comes after the model.

    `head -c -64 FILE | sha256sum` prints the digest, and `tail -c 64 FILE` shows it.
    """
    return content + MARK + sha256(content + MARK)


def is_damaged(content):
    """Whether a file's bytes are not what was written. Without a digest nobody can tell, and it is `False`."""
    return MARK in content and not content.endswith(sha256(memoryview(content)[:-DIGITS]))


def sha256(content):
    """The SHA-256 of bytes as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest().encode()
