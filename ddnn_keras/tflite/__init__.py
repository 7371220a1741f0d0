"""Sub-nets as verified `.tflite` files.

    convert  ->  verify  ->  metadata        each a module of its name; `export` puts them together

`interpreter` and `metadata` import NumPy, flatbuffers and ai_edge_litert alone, so that a device without TensorFlow can
use them. That is why nothing is imported here.
"""
