"""One module for each kind of data set. Its `read(location, options)` gives a `source.Source`."""
