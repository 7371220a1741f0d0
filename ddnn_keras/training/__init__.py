"""What `compile` and `fit` of a network with several depths add to Keras."""
