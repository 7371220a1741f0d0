"""One module for each kind of data set. Its `read(location, options)` gives a `ddnn_keras.data.source.Source`."""
