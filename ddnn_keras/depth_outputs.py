"""From raw pixels to every depth's logits and stage features: the functional graph that a `DDNN` is."""

import random

import keras
import numpy as np

from ddnn_keras.depths import output_key
from ddnn_keras.model_arguments import check_stages
from ddnn_keras.paths import Path, deepest, grow


def normalize_pixels(image, mean, std, policy):
    """Brings raw pixels to the range that networks are trained in, within the network: devices need not know."""
    mean, std = (np.asarray(value, "float64") for value in (mean, std))
    scale, offset = 1 / std, -mean / std
    return keras.layers.Rescaling(scale.tolist(), offset.tolist(), dtype=policy, name="normalize_pixels")(image)


def grow_outputs(backbone, x, depths, num_classes, policy):
    """Logits and stage features of every depth: two dicts from output keys."""
    depths = {output_key(depth): blocks for depth, blocks in depths.items()}
    # From the generator that `keras.utils.set_random_seed` seeds.
    full_net = deepest(depths)
    trunk = Path(full_net, depths[full_net], {}, policy, seed=random.getrandbits(32))
    logits, features = {}, {}
    for key, (path, stages) in grow(backbone, trunk, backbone.stem(trunk, x), depths).items():
        check_stages(backbone, stages)
        # Logits in full precision: under a mixed policy, half precision costs accuracy in the softmax.
        classifier = keras.layers.Dense(
            num_classes,
            kernel_initializer=keras.initializers.GlorotUniform(path.seed(key)),
            dtype=policy.variable_dtype,
            name=key,
        )
        logits[key], features[key] = classifier(backbone.head(path, stages[-1])), stages
    return logits, features


def network_with_features(model, features):
    """A network of the same layers, input and logits that gives stage features too."""
    network = keras.Model(model.input, {"logits": model.output, "features": features})
    network.input_spec, network.dtype_policy = model.input_spec, model.dtype_policy
    return network
