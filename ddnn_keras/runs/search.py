"""A search for hyperparameters with KerasTuner, in which every trial is a training."""

import argparse
import functools
import os

import keras
import keras_tuner
import numpy as np

from ddnn_keras.runs import trainer
from ddnn_keras.runs.search_space import chosen

OBJECTIVES = {"mean": "val_mean_accuracy", "shallowest": "val_shallowest_accuracy"}


class Search(keras_tuner.HyperModel):
    """What KerasTuner builds and trains for a choice of hyperparameters, which replaces some of the arguments."""

    def __init__(self, arguments, images):
        super().__init__(name="ddnn_keras")
        self.arguments = arguments
        self.images = images

    def build(self, hp):
        """A compiled network; every trial starts from the same weights."""
        keras.utils.set_random_seed(self.arguments.seed)
        arguments = {**vars(self.arguments), **chosen(hp, self.arguments)}
        return trainer.compiled_network(argparse.Namespace(**arguments), self.images)

    def fit(self, hp, model, callbacks=(), **kwargs):
        """Trains the network."""
        arguments, images = self.arguments, self.images
        batches = images.train(arguments.batch_size, seed=arguments.seed)
        # The objectives come before KerasTuner's own callbacks, which read them.
        objectives = keras.callbacks.LambdaCallback(on_epoch_end=functools.partial(add_objectives, model))
        epochs = 0, arguments.epochs
        history = trainer.fit_epochs(model, arguments, images, batches, epochs, [objectives, *callbacks])
        if not np.isfinite(history.history["loss"]).all():
            # A trial that failed would teach the search nothing, and three in a row would end it.
            history.history |= {name: [0.0] * len(history.epoch) for name in OBJECTIVES.values()}
        return history


def add_objectives(model, epoch, logs):
    """Logs all depths' mean validation accuracy and the shallowest depth's, and ends a diverged training."""
    accuracies = [logs[f"val_{key}_accuracy"] for key in model.output_keys]
    logs[OBJECTIVES["mean"]] = float(np.mean(accuracies))
    logs[OBJECTIVES["shallowest"]] = accuracies[0]
    if not np.isfinite(logs["loss"]):
        model.stop_training = True


def new_tuner(arguments, images, output):
    """KerasTuner's tuner, which goes on with the search in `output` if there is one."""
    # It goes on only if this process' own file is there. With a chief, that file has another name than without.
    own = output / f"{os.environ.get('KERASTUNER_TUNER_ID', 'tuner0')}.json"
    if (output / "oracle.json").exists() and not own.exists():
        own.write_text("{}")
    # Full trainings: the first half at random, the others where a Gaussian process expects most. KerasTuner's own rule,
    # three random trials for each parameter, would leave no others by default.
    return keras_tuner.BayesianOptimization(
        Search(arguments, images),
        keras_tuner.Objective(OBJECTIVES[arguments.objective], "max"),
        max_trials=arguments.trials,
        num_initial_points=max(1, arguments.trials // 2),
        max_consecutive_failed_trials=min(3, arguments.trials),
        seed=arguments.seed + 1,  # it takes 0 for none
        directory=output.parent,
        project_name=output.name,
    )
