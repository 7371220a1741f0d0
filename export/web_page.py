"""Puts a bundle into a web page: draw or choose an image, and move between the depths.

For example:

    python export/to_tflite.py --depth all --bundle --quantize int8 --io-dtype uint8
    npm install --prefix export/web
    python export/web_page.py runs/digits_.../tflite/bundle_int8_uint8.tflite
    python -m http.server --directory site

The page is static and loads nothing from other addresses. Its folder can be served anywhere.
"""

import argparse
import pathlib
import shlex
import shutil

from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.command_line import ArgumentParser, run
from ddnn_keras.runtime.metadata import named_depths, read_metadata, to_json

WEB = pathlib.Path(__file__).parent / "web"
PAGE = ("index.html", "page.js", "style.css")
# The parts of the packages that the browser loads: LiteRT for processors with and without newer instructions.
RUNTIME = {
    "core/index.js": "core/dist/index.js",
    "wasm-utils/index.js": "wasm-utils/dist/index.js",
    **{
        f"wasm/litert_wasm_{kind}internal.{suffix}": f"core/wasm/litert_wasm_{kind}internal.{suffix}"
        for kind in ("", "compat_")
        for suffix in ("js", "wasm")
    },
}
IO_DTYPES = ("float32", "uint8")  # LiteRT.js has no int8 tensors

parser = ArgumentParser(__doc__)
parser.add_argument("bundle", help="a .tflite file that names its depths", default=argparse.SUPPRESS)
parser.add_argument("--output", default="site", help="the folder of the page; it must not exist")
parser.add_argument("--sample", help="an image for the page; by default the sample beside the bundle")


def main(arguments):
    bundle, output = pathlib.Path(arguments.bundle), pathlib.Path(arguments.output)
    facts = read_metadata(bundle)
    check_bundle(bundle, facts)
    packages = WEB / "node_modules" / "@litertjs"
    if not packages.is_dir():
        raise ValueError(f"LiteRT.js is missing: npm install --prefix {WEB}")
    if output.exists():
        raise ValueError(f"--output must be a new folder. Received: {output}, which exists")
    if not (sample := arguments.sample or min(bundle.parent.glob("sample_*.png"), default=None)):
        raise ValueError(f"--sample must be given: there is no sample_*.png beside {bundle}.")
    sources = {
        **{name: WEB / name for name in PAGE},
        **{f"runtime/{name}": packages / source for name, source in RUNTIME.items()},
        "bundle.tflite": bundle,
        "sample.png": sample,
    }
    with atomic_write(output) as temporary:
        for name, source in sources.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, temporary / name)
        (temporary / "bundle.json").write_text(to_json(facts))
    print(f"Next: python -m http.server --directory {shlex.quote(str(output))}")


def check_bundle(bundle, facts):
    """Raises a `ValueError` if the page cannot run the file."""
    if not named_depths(facts):
        raise ValueError(f"BUNDLE must be a file from to_tflite.py, which names its depths. Received: {bundle}")
    found = next(iter(facts["signatures"].values()))["input"]
    _, height, width, channels = found["shape"]
    if height != width or channels not in (1, 3):
        raise ValueError(
            f"BUNDLE must take square images, grey or in colour. Received: {bundle}, which takes {found['shape']}"
        )
    if found["dtype"] not in IO_DTYPES:
        raise ValueError(
            f"BUNDLE must take {' or '.join(IO_DTYPES)}, as with --io-dtype uint8. "
            f"Received: {bundle}, which takes {found['dtype']}"
        )


if __name__ == "__main__":
    run(main, parser)
