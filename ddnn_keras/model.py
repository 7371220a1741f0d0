"""DDNN: one network, one set of weights, a classifier at each of several depths."""

import types
import warnings

import keras
import numpy as np

from ddnn_keras.backbones import make_backbone
from ddnn_keras.depths import check_within, is_name, output_key, resolve_depths, without_numpy
from ddnn_keras.distillation import EKD
from ddnn_keras.network.build import (
    check_channels_last,
    check_float32,
    check_images,
    check_pixels,
    grow_outputs,
    network_with_features,
    normalize_pixels,
)
from ddnn_keras.network.divided_backbone import DividedBackbone, take_weights, with_image_shape
from ddnn_keras.network.layer_overrides import (
    FROZEN,
    change_settings,
    changed_settings,
    freeze,
    frozen_config,
    layer_settings,
)
from ddnn_keras.network.preprocessing import preprocessing_of
from ddnn_keras.network.untrained_subnets import combination, compute_statistics
from ddnn_keras.pixels import checked_raw_images
from ddnn_keras.quantization_aware import fake_quantized
from ddnn_keras.training.distillation_loss import CompiledDistillation, LatestPass, check_reductions
from ddnn_keras.training.per_depth import (
    labels_per_output,
    losses_per_output,
    metrics_per_output,
    sample_weights_per_output,
    weights_per_output,
)
from ddnn_keras.training.tensorflow_speed import (
    build_optimizer,
    fuse_normalization,
    make_optimizer_state,
    make_state,
    use_keras_normalization,
)


@keras.saving.register_keras_serializable("ddnn_keras")
class DDNN(keras.Model):
    """Depth-level dynamic neural network: sub-nets of several depths in one set of weights.

    After "Embedded Knowledge Distillation in Depth-Level Dynamic Neural Network" (https://arxiv.org/abs/2103.00793).
    A sub-net keeps the first blocks of every stage. What two sub-nets have in common is computed once until they
    part; from there on they share convolutions, while batch normalisation and classifier are their own. The deepest
    is the full-net; in training it teaches the others, see `compile`.

    Args:
        depths: Which sub-nets the network holds: known integers of the backbone, such as `(18, 34, 50)`, or a
            mapping from names to blocks per stage, such as `{"tiny": (1, 1, 1, 1), "small": (2, 2, 2, 2)}`. They must
            nest. The 50 of `"resnet"` is made of basic blocks, `(3, 4, 14, 3)`: the paper's ResNet-50 is made of
            bottlenecks, which cannot share weights with ResNet-18 and 34.
        backbone: The family: `"resnet"` (the default), `"resnet_bottleneck"`, `"resnet_cifar"`, `"vgg"`,
            `"mobilenet_v2"` or `"densenet"`; or a backbone of your own, see `ddnn_keras.backbones`.
        num_classes: Number of classes, an integer of 2 or more. Defaults to `10`.
        input_shape: `(height, width, channels)` of an image, positive integers. Defaults to `(32, 32, 3)`.
        width: Channels of the first stage or convolution, to which all others are in proportion. Defaults to that of
            the published networks: `16` for `"resnet_cifar"`, `32` for `"mobilenet_v2"`, else `64`.
        stem: What is before the first stage: for the ResNets `"cifar"` (keeps the resolution of small images, the
            default), `"strided"` (half of it) or `"imagenet"` (a quarter of it); each family says what these are to it.
        pixel_mean: Subtracted from each pixel: a number, or one for each channel. Defaults to `127.5`.
        pixel_std: Divides each pixel after that. Defaults to `127.5`, so that 0..255 becomes -1..1.
        quantization_aware: Whether weights and activations are rounded to 8 bits in the forward pass, as int8 files
            will do. Defaults to `False`; `ddnn_keras.quantization_aware` makes such a network of a trained one.
        dtype: The dtype policy of the layers. Defaults to Keras' global one.
        name: The model's name. Defaults to `"ddnn"`.

    Input: raw pixels 0..255, shape `(batch, height, width, channels)`.

    Output: a dict of logits of shape `(batch, num_classes)`, with keys such as `"depth_18"`.

    Labels and sample weights, in `fit` and `evaluate`: one array for every depth; or a dict from output keys, or a list
    in the order of `depths`, with an array for each.

    Raises:
        ValueError: If an argument is not as above, or Keras' image data format is not channels last.

    Example:
    >>> import numpy as np
    >>> model = DDNN(depths=(10, 18), width=4, input_shape=(16, 16, 1))
    >>> logits = model(np.zeros((2, 16, 16, 1)))
    >>> {key: tuple(value.shape) for key, value in logits.items()}
    {'depth_10': (2, 10), 'depth_18': (2, 10)}
    >>> model.subnet(10).output_shape
    (None, 10)
    """

    def __init__(
        self,
        depths=(18, 34, 50),
        backbone="resnet",
        num_classes=10,
        input_shape=(32, 32, 3),
        width=None,
        stem=None,
        pixel_mean=127.5,
        pixel_std=127.5,
        quantization_aware=False,
        dtype=None,
        name="ddnn",
    ):
        input_shape = without_numpy(input_shape)
        check_channels_last()
        check_images(input_shape, num_classes)
        check_pixels("pixel_mean", pixel_mean, input_shape[-1], allow_zero=True)
        check_pixels("pixel_std", pixel_std, input_shape[-1], allow_zero=False)
        # Keras' layers and JSON take no NumPy integers.
        num_classes = int(num_classes)
        input_shape = tuple(int(size) for size in input_shape)
        family = make_backbone(backbone, width, stem)
        depths = resolve_depths(depths, family.DEPTHS)
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())

        image = keras.Input(input_shape, name="image")
        normalized = normalize_pixels(image, pixel_mean, pixel_std, policy)
        logits, features = grow_outputs(family, normalized, depths, num_classes, policy)
        if quantization_aware:
            check_float32(policy)
            image, (logits, features) = fake_quantized(image, (logits, features))
        super().__init__(inputs=image, outputs=logits, name=name)
        self.dtype_policy = policy
        # Keras' own would take one image without a batch axis for a batch of rows.
        self.input_spec = keras.layers.InputSpec(shape=(None, *input_shape), name="image")

        # In namespaces, since Keras would track and save what is in attributes as layers of this network.
        self._with_features = types.SimpleNamespace(network=network_with_features(self, features))
        self._combinations = types.SimpleNamespace(backbone=family, known={})
        self._latest_pass = LatestPass()
        self._depths = tuple(depths.items())
        self._compiled_distillation = CompiledDistillation(None, self.output_keys)
        self._labelled = ()
        self._settings_at_first = layer_settings(self)
        self._arguments = {
            "depths": [[depth, [int(count) for count in blocks]] for depth, blocks in self._depths],
            "backbone": backbone,
            "num_classes": num_classes,
            "input_shape": list(input_shape),
            "width": width if width is None else int(width),
            "stem": stem,
            "pixel_mean": np.asarray(pixel_mean).tolist(),
            "pixel_std": np.asarray(pixel_std).tolist(),
            "quantization_aware": bool(quantization_aware),
        }

    @classmethod
    def from_keras(cls, source, depths=3, num_classes=None, preprocessing="auto", input_shape=None, **arguments):
        """Makes a network of several depths from a functional Keras network, with that network's weights.

        Blocks that add to their input and keep its shape can be left out. Each depth keeps the first ones of every
        stage. All depths share the source's weights. After depths part, each has its own normalisation, which starts as
        a copy. So the full-net computes what the source computes.

        Args:
            source: A functional `keras.Model` from one image to one output, with or without its classifier, such as
                those of `keras.applications` and KerasHub. It is not changed.
            depths: An integer: how many depths. They are spread evenly over multiply-accumulates, from one block in
                each stage to all blocks, and named by how many blocks they keep. Or a mapping from names to blocks per
                stage. Defaults to `3`.
            num_classes: Number of classes. Defaults to the source's, whose classifier then starts every depth's.
            preprocessing: What the source wants done to raw pixels 0..255 before it sees them: `None` for nothing,
                `"tf"`, `"torch"` or `"caffe"` as in `keras.applications`, or a pair of a mean and a deviation, numbers
                or one for each channel. Defaults to `"auto"`, which knows `keras.applications` and KerasHub by name.
            input_shape: `(height, width, channels)`, where the source takes images of any size.
            **arguments: Further arguments of `DDNN`, such as `dtype` and `name`.

        Returns:
            A `DDNN`.

        Raises:
            ValueError: If the source has no such blocks, or an argument is not as above.

        Example:
        >>> import keras
        >>> source = keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), include_top=False)
        >>> model = DDNN.from_keras(source, depths=2, num_classes=5)
        >>> model.depths
        {7: (1, 1, 1, 1, 1), 17: (2, 3, 4, 3, 3)}
        """
        backbone = DividedBackbone(with_image_shape(source, input_shape))
        pixels = preprocessing_of(source, preprocessing)
        classifier = backbone.division.classifier
        model = cls(
            depths=backbone.depths(depths),
            backbone=backbone,
            num_classes=classifier.kernel.shape[-1] if num_classes is None and classifier else num_classes,
            input_shape=backbone.source.input_shape[1:],
            pixel_mean=pixels.mean,
            pixel_std=pixels.std,
            **arguments,
        )
        take_weights(model, backbone.division, pixels.channels)
        return model

    @property
    def depths(self):
        """The depths from the shallowest to the full-net: a dict from names to blocks per stage."""
        return dict(self._depths)

    @property
    def output_keys(self):
        """The keys of the outputs, in the order of `depths`."""
        return [output_key(depth) for depth in self.depths]

    def subnet(self, depth):
        """One depth as a plain functional model that shares this network's variables.

        Args:
            depth: One of `depths`, such as `18`; or the blocks per stage of any sub-net, such as `(2, 3, 5, 2)`. One
                that was not trained needs `calibrate` first, or it is hardly better than chance; and again after
                training, since its normalisation is a copy.

        Returns:
            A `keras.Model` from raw pixels to logits, with this depth's layers alone.

        Raises:
            ValueError: If the network does not hold this depth.
        """
        depth = self._trained_depth(depth)
        if isinstance(depth, tuple):
            return self._combination(depth).subnet
        key = output_key(depth)
        subnet = keras.Model(self.input, self.output[key], name=key)
        subnet.input_spec = self.input_spec
        return subnet

    def calibrate(self, images, depth, trained=False):
        """Computes the statistics of batch normalisation for blocks that were not trained together.

        The network's weights stay as they are, and so do the statistics of every trained depth. The network file does
        not hold what was computed, and training does not keep it up to date: save the sub-net, or calibrate again. To
        calibrate again also undoes what was changed in the sub-net's own normalisation, for instance by fitting it.

        Args:
            images: Raw pixels 0..255 of shape `(n, height, width, channels)` from the training set; some hundreds.
            depth: Blocks per stage, such as `(2, 3, 5, 2)`.
            trained: Whether `depth` may be one that was trained, whose statistics then change, also for other depths
                as far as they are computed together. Defaults to `False`.

        Returns:
            The sub-net, as `subnet(depth)` gives it from now on.

        Raises:
            ValueError: If an argument is not as above.

        Example:
        >>> import numpy as np
        >>> model = DDNN(depths=(8, 20), backbone="resnet_cifar", width=4)
        >>> images = np.random.default_rng(0).uniform(0, 255, (16, 32, 32, 3))
        >>> model.calibrate(images, (1, 3, 2)).output_shape
        (None, 10)
        """
        depth, images = self._trained_depth(depth), checked_raw_images("images", images, self.input_shape[1:])
        self._check_not_quantization_aware(depth)
        if isinstance(depth, tuple):
            self._combination(depth).calibrate(images)
        elif trained:
            subnet = self.subnet(depth)
            layers = [layer for layer in subnet.layers if isinstance(layer, keras.layers.BatchNormalization)]
            compute_statistics(subnet, layers, images)
        else:
            raise ValueError(f"`trained` must be True to change the statistics of a trained depth. Received: {depth!r}")
        return self.subnet(depth)

    def _trained_depth(self, depth):
        """The name of a trained depth, or the blocks of another."""
        depth = without_numpy(depth)
        if isinstance(depth, tuple | list):
            full_net = list(self.depths.values())[-1]
            check_within(depth, full_net)
            depth = tuple(map(int, depth))
            return next((name for name, blocks in self.depths.items() if blocks == depth), depth)
        if not is_name(depth) or depth not in self.depths:
            allowed = ", ".join(map(repr, self.depths))
            raise ValueError(f"`depth` must be one of {allowed}, or blocks per stage. Received: depth={depth!r}")
        return depth

    def _check_not_quantization_aware(self, depth):
        # The ranges of its activations belong to the statistics that it has.
        if self._arguments["quantization_aware"]:
            raise ValueError(
                f"`depth` must be a trained one, as it is, of a quantization-aware network. Received: depth={depth!r}"
            )

    def _combination(self, blocks):
        self._check_not_quantization_aware(blocks)
        if blocks not in self._combinations.known:
            self._combinations.known[blocks] = combination(self, self._combinations.backbone, blocks)
        return self._combinations.known[blocks]

    def call(self, inputs, training=None, mask=None):
        """Logits of every depth. For `compute_loss`, what is distilled from stays known until the next call."""
        if not self._compiled_distillation.metrics:
            return super().call(inputs, training=training, mask=mask)
        outputs = self._with_features.network.call(inputs, training=training, mask=mask)
        self._latest_pass.remember(**outputs)
        return outputs["logits"]

    def features(self, inputs, training=False):
        """The output of every stage, which attention maps are made of.

        Args:
            inputs: Raw pixels 0..255, shape `(batch, height, width, channels)`.
            training: Whether to normalise by the batch's own statistics. Defaults to `False`.

        Returns:
            A dict from output keys to lists of tensors of shape `(batch, height, width, channels)`, one for each
            stage. Where depths have not parted yet, they have the same tensors.

        Example:
        >>> import numpy as np
        >>> model = DDNN(depths=(8, 14), backbone="resnet_cifar", width=4)
        >>> [tuple(feature.shape) for feature in model.features(np.zeros((2, 32, 32, 3)))["depth_8"]]
        [(2, 32, 32, 4), (2, 16, 16, 8), (2, 8, 8, 16)]
        """
        return self._with_features.network(inputs, training=training)["features"]

    # Training. Keras' own steps of each backend do the work, also those that a subclass writes as Keras' guides do.

    def compile(
        self,
        optimizer="rmsprop",
        loss="sparse_categorical_crossentropy",
        *,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        distillation=None,
        jit_compile="auto",
        **kwargs,
    ):
        """Configures the model for training; again after `trainable` of a layer was changed.

        Args:
            optimizer: As for any Keras model.
            loss: One loss for every depth, or a dict from output keys or a list in the order of `depths` with a loss
                for each. The outputs are logits, and the cross-entropies that Keras knows by name are read
                accordingly. Depths that a dict leaves out have none, and need no labels. Defaults to
                `"sparse_categorical_crossentropy"`.
            loss_weights: Optional weights of the losses: a dict from output keys, of which those that it leaves out
                are 1; or a list in the order of `depths`, for those that have a loss.
            metrics: One list of metrics for every depth, or a dict from output keys to lists or a list of lists in the
                order of `depths`. Cross-entropies by name are read as losses are.
            weighted_metrics: Likewise, weighted by `sample_weight`.
            distillation: A `ddnn_keras.EKD`, or `None` (the default) for joint training on `loss` alone.
            jit_compile: As for any Keras model; `"auto"` (the default) is decided anew where the network is loaded.
            **kwargs: Further arguments of `keras.Model.compile`.

        Raises:
            ValueError: If an argument is not as above.
        """
        if not isinstance(distillation, EKD | None):
            raise ValueError(
                f"`distillation` must be a ddnn_keras.EKD or None. Received: distillation={distillation!r}"
            )
        keys = self.output_keys
        losses = losses_per_output(loss, keys)
        if distillation:
            check_reductions(losses or {})
        metrics = metrics_per_output(metrics, keys)
        weighted_metrics = metrics_per_output(weighted_metrics, keys, "weighted_metrics")
        # Keras keeps those of an earlier `compile` where this one names none.
        self._compile_loss = self._compile_metrics = self.loss = None
        super().compile(
            optimizer=optimizer,
            loss=losses or None,
            loss_weights=weights_per_output(loss_weights, [key for key in keys if key in (losses or ())]),
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            jit_compile=jit_compile,
            **kwargs,
        )
        self._asked_jit_compile = jit_compile
        # Depths without a loss or a metric need no labels.
        used = [given for given in (losses, metrics, weighted_metrics) if given]
        self._labelled = tuple(key for key in keys if any(given.get(key) for given in used))
        self._compiled_distillation = CompiledDistillation(distillation, self.output_keys)
        fuses = keras.backend.backend() == "tensorflow" and not self.jit_compile
        (fuse_normalization if fuses else use_keras_normalization)(self.layers)
        make_state(self)

    @property
    def distillation(self):
        """The `distillation` that the model was compiled with."""
        return self._compiled_distillation.distillation

    def make_train_function(self, force=False):
        """Makes what `fit` calls for a step."""
        # Not in `compile`: an optimizer that has variables serves those that it was made for and no others.
        make_optimizer_state(self)
        return super().make_train_function(force)

    def train_step(self, *args):
        """One step on a batch: a forward pass for logits and features, all losses, one update."""
        with self._latest_pass.forgotten_afterwards():
            return super().train_step(*args)

    def test_step(self, *args):
        """The losses and metrics of a batch."""
        with self._latest_pass.forgotten_afterwards():
            return super().test_step(*args)

    def predict_step(self, *args):
        """The logits of a batch."""
        with self._latest_pass.forgotten_afterwards():
            return super().predict_step(*args)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The sum of every depth's loss and of its weighted distillation terms.

        Distillation needs the features of the forward pass, so that `y_pred` must be what this network's latest call
        gave, as it is in Keras' steps and in a `train_step` of your own.

        Raises:
            ValueError: If it is not, and the network was compiled with `distillation`.
        """
        y, sample_weight = self._labels_and_weights(y, sample_weight)
        # Keras builds losses on logits of no call, whose value nobody sees.
        is_real = self._compile_loss is None or self._compile_loss.built
        distills = bool(self._compiled_distillation.metrics)
        # With none at all, Keras has nothing to compute on TensorFlow.
        has_others = self._compile_loss is not None or self.losses or not distills
        loss = super().compute_loss(x, y, y_pred, sample_weight, training) if has_others else 0.0
        if not distills:
            return loss
        features = self._latest_pass.features_of(y_pred)
        if features is not None:
            return loss + self._compiled_distillation(y_pred, features, sample_weight)
        if is_real:
            raise ValueError(
                "`y_pred` must be what this network's latest call gave: `distillation` needs the features behind it."
            )
        return loss

    def _labels_and_weights(self, y, sample_weight):
        keys = self.output_keys
        return labels_per_output(y, keys, self._labelled), sample_weights_per_output(sample_weight, keys)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Updates every depth's metrics."""
        y, sample_weight = self._labels_and_weights(y, sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    @property
    def metrics(self):
        """The metrics that Keras keeps, and the distillation terms."""
        return super().metrics + self._compiled_distillation.metrics

    def quantize(self, *args, **kwargs):
        """Refuses: Keras would give layers other variables, each of which several depths share.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "`quantize` is not for a network of several depths: `export/to_tflite.py --quantize` makes integer files, "
            "`ddnn_keras.quantization_aware` a copy that trains as these compute."
        )

    # Saving.

    def get_config(self):
        """The constructor's arguments, by name, which layers are frozen, and what was changed in layers."""
        return {
            **self._arguments,
            **frozen_config(self),
            "layer_settings": changed_settings(self, self._settings_at_first),
            "backbone": keras.saving.serialize_keras_object(self._arguments["backbone"]),
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the model that `get_config` describes."""
        # Pairs, because the keys of a JSON object are strings and most depths are integers.
        depths = {depth: tuple(blocks) for depth, blocks in config["depths"]}
        backbone = keras.saving.deserialize_keras_object(config["backbone"])
        arguments = {**config, "depths": depths, "backbone": backbone}
        # Not in files of networks that were saved before this was kept.
        frozen = {name: arguments.pop(name) for name in FROZEN if name in arguments}
        # Under its first name in files of a time when it was kept of normalisations alone.
        settings = arguments.pop("layer_settings", arguments.pop("normalization", {}))
        model = cls(**arguments)
        freeze(model, **frozen)
        change_settings(model, settings)
        return model

    def get_compile_config(self):
        """The arguments of `compile`, serialized."""
        config = super().get_compile_config()
        if config:
            # Keras keeps what "auto" came to, which on another backend or device would be something else.
            config["jit_compile"] = self._asked_jit_compile
        if self.distillation:
            config["distillation"] = keras.saving.serialize_keras_object(self.distillation)
        return config

    def compile_from_config(self, config):
        """Compiles the model as `get_compile_config` describes; a subclass whose `compile` is its own overrides it."""
        if type(self).compile is not DDNN.compile:
            # As Keras does: its arguments are not in the configuration.
            warnings.warn(
                f"A loaded {type(self).__name__} must be compiled anew: it overrides `compile()`, and "
                "`get_compile_config()` and `compile_from_config()` do not know its arguments.",
                stacklevel=2,
            )
            return
        self.compile(**keras.saving.deserialize_keras_object(config))
        build_optimizer(self)
