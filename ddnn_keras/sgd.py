"""Stochastic gradient descent that asks its schedule for the learning rate once a step."""

import keras


@keras.saving.register_keras_serializable("ddnn_keras")
class SGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD`, which begins faster where it has both a schedule and weight decay; it does the same.

    Keras' weight decay asks for the learning rate once for every variable, and a schedule computes it anew each time:
    of a `CosineDecay` with a warm-up, that is a large part of what TensorFlow traces before the first step. A traced
    step takes as long as with Keras' own.

    Args:
        *args: As for `keras.optimizers.SGD`.
        **kwargs: Likewise.

    Example:
    >>> schedule = keras.optimizers.schedules.CosineDecay(0.1, decay_steps=100)
    >>> optimizer = SGD(schedule, momentum=0.9, weight_decay=5e-3)
    >>> float(optimizer.learning_rate) == float(schedule(0))
    True
    """

    _of_this_step = None

    def apply(self, grads, trainable_variables=None):
        """One update of the variables, as `keras.optimizers.SGD.apply` does it."""
        self._of_this_step = self.learning_rate
        try:
            return super().apply(grads, trainable_variables)
        finally:
            self._of_this_step = None

    def _learning_rate_now(self):
        return super().learning_rate if self._of_this_step is None else self._of_this_step

    learning_rate = property(_learning_rate_now, keras.optimizers.SGD.learning_rate.fset)
