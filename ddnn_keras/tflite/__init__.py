"""Sub-nets become verified `.tflite` files: converted, compared with Keras, described. Needs TensorFlow."""
