"""Fine-tuning of a pretrained network: the classifiers first, then all layers at a lower rate; the best epoch stays.

With classifiers that fit the features, training all layers spoils the features less (https://arxiv.org/abs/2202.10054).
"""

import itertools
import zlib

import keras
import numpy as np

from ddnn_keras.runs import trainer
from ddnn_keras.runs.arguments import load_images
from ddnn_keras.runs.best_epoch import BestEpoch
from ddnn_keras.runs.confusion import add_recall
from ddnn_keras.runs.pretrained_start import pretrained_network

# Pixels: of smaller images, the last stages of a pretrained network see nothing; larger ones cost time and memory.
SMALLEST, LARGEST = 96, 224
BATCH_SIZE = 32
# About as many images are seen in all, within these epochs.
IMAGES_SEEN, FEWEST_EPOCHS, MOST_EPOCHS = 45_000, 5, 100
LEARNING_RATES = {"sgd": 0.01, "adamw": 3e-4}
WEIGHT_DECAYS = {"sgd": 4e-5, "adamw": 0.05}
HEAD_RATE = 1e-3  # of Adam, whose steps do not depend on how large a start's features are
NOT_DECAYED = ["gamma", "beta", "bias"]
PIXELS = (0, 255)

AUGMENTATIONS = {
    "none": lambda seed: [],
    "light": lambda seed: [
        keras.layers.RandomRotation(0.03, fill_mode="nearest", seed=seed),
        # Of the same seed, all three would draw the same numbers.
        keras.layers.RandomBrightness(0.1, value_range=PIXELS, seed=seed ^ 1),
        keras.layers.RandomContrast(0.1, value_range=PIXELS, seed=seed ^ 2),
    ],
    "rand": lambda seed: [keras.layers.RandAugment(value_range=PIXELS, seed=seed)],
}

OPTIMIZERS = {"sgd": trainer.sgd, "adamw": lambda rate, decay: keras.optimizers.AdamW(rate, weight_decay=decay)}


def settled_images(arguments):
    """The data set, for which the arguments then have all that the command line left open."""
    images = load_images(arguments)
    height, width, _ = images.image_shape
    if arguments.image_size is None and not SMALLEST <= min(height, width) <= max(height, width) <= LARGEST:
        arguments.image_size = SMALLEST if min(height, width) < SMALLEST else LARGEST
        images = images.resized(arguments.image_size)
    epochs = arguments.epochs or min(max(IMAGES_SEEN // images.num_train, FEWEST_EPOCHS), MOST_EPOCHS)
    for name, value in {
        "epochs": epochs,
        "head_epochs": min(max(1, epochs // 10), epochs - 1),
        "patience": max(3, epochs // 3),
        "batch_size": min(BATCH_SIZE, images.num_train),
        "learning_rate": LEARNING_RATES[arguments.optimizer],
        "weight_decay": WEIGHT_DECAYS[arguments.optimizer],
    }.items():
        if vars(arguments)[name] is None:
            setattr(arguments, name, value)
    if arguments.head_epochs >= arguments.epochs:
        raise ValueError(f"--head-epochs must be fewer than the {arguments.epochs} --epochs.")
    return images


def fit(model, arguments, images, run_directory, first_epoch, share):
    """Trains the classifiers and then all layers, from an epoch on, and leaves the network of the best epoch."""
    files = [trainer.FiniteLoss(), *trainer.writers(arguments, run_directory)]
    best = BestEpoch(run_directory, model.output_keys, arguments.patience, arguments.head_epochs)
    for head, begin, end in [(True, 0, arguments.head_epochs), (False, arguments.head_epochs, arguments.epochs)]:
        if first_epoch >= end or best.is_past():
            continue
        # A loaded optimizer decays all weights, because Keras does not save what is excluded.
        state = model.optimizer.variables if first_epoch > begin else []
        compile_network(model, arguments, images, head)
        model.optimizer.build(model.trainable_variables)
        for variable, value in zip(model.optimizer.variables, state):
            variable.assign(value)
        first_epoch = max(first_epoch, begin)
        print("The classifiers:" if head else "All layers:")
        given = batches(arguments, images, first_epoch)
        trainer.fit_epochs(model, arguments, images, given, (first_epoch, end), [*files, best])
    best.restore(model, finished_epochs=arguments.epochs)


def compile_network(model, arguments, images, head):
    """Gives a network its optimizer and objective, for the classifiers alone or for all layers."""
    for layer in model.layers:
        layer.trainable = not head or layer.name in model.output_keys
    steps_per_epoch = images.steps_per_epoch(arguments.batch_size)
    made = keras.optimizers.Adam(HEAD_RATE) if head else optimizer(arguments, steps_per_epoch)
    trainer.compile_network(model, arguments, made)


def optimizer(arguments, steps_per_epoch):
    """The optimizer for all layers, with a warm-up and a cosine to zero."""
    steps = (arguments.epochs - arguments.head_epochs) * steps_per_epoch
    # finetune_qat.py says how many. At most half of a short training.
    warmup_epochs = vars(arguments).get("warmup_epochs", max(1, arguments.epochs // 10))
    schedule = trainer.schedule(arguments.learning_rate, min(warmup_epochs * steps_per_epoch, steps // 2), steps)
    made = OPTIMIZERS[arguments.optimizer](schedule, arguments.weight_decay)
    made.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return made


def batches(arguments, images, first_epoch):
    """Training batches of images, labels and weights, without end. An epoch's depend on the seed and on its number."""
    weights = class_weights(images)
    given = iter(images.train(arguments.batch_size, seed=arguments.seed, first_epoch=first_epoch))
    for epoch in itertools.count(first_epoch):
        layers = AUGMENTATIONS[arguments.augment](zlib.crc32(f"{arguments.seed} {epoch}".encode()))
        for pixels, labels in itertools.islice(given, images.steps_per_epoch(arguments.batch_size)):
            # Not all of what RandAugment needs of TensorFlow is deterministic on a GPU.
            with keras.device("cpu:0"):
                for layer in layers:
                    pixels = layer(pixels, training=True)
            yield pixels, labels, weights[keras.ops.convert_to_numpy(labels)]


def class_weights(images):
    """A weight for each class, so that all classes count the same: scikit-learn's "balanced" ones."""
    counts = images.class_counts()
    if counts is None:
        return np.ones(images.num_classes)
    # Of few --train-images, none may be of a class.
    return images.num_train / (images.num_classes * np.maximum(counts, 1))


PROCEDURE = trainer.Procedure(pretrained_network, fit, add_recall)
