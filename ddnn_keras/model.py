"""DDNN: one network, one set of weights, a classifier at each of several depths."""

import threading
import types
import warnings

import keras
import numpy as np

from ddnn_keras.backbones import make_backbone
from ddnn_keras.depths import check_within, is_name, output_key, resolve_depths, without_numpy
from ddnn_keras.distillation import EKD
from ddnn_keras.network import build, layer_overrides
from ddnn_keras.network.divided_backbone import DividedBackbone, take_weights, with_image_shape
from ddnn_keras.network.preprocessing import preprocessing_of
from ddnn_keras.network.untrained_subnets import untrained_subnet
from ddnn_keras.pixels import AT_ONCE, checked_raw_images, warn_of_scaled
from ddnn_keras.quantization_aware import fake_quantized
from ddnn_keras.training import per_depth, tensorflow_speed
from ddnn_keras.training.sum_of_terms import CompiledDistillation


@keras.saving.register_keras_serializable("ddnn_keras")
class DDNN(keras.Model):
    """Depth-level dynamic neural network: sub-nets of several depths in one set of weights.

    After "Embedded Knowledge Distillation in Depth-Level Dynamic Neural Network" (https://arxiv.org/abs/2103.00793).
    A sub-net keeps the first blocks of every stage. Sub-nets share all convolutions. Each has its own classifier, and
    its own batch normalisation from the stage on in which it keeps fewer blocks. The deepest sub-net is the full-net;
    in training it teaches the others, see `compile`. `ddnn_keras/README.md` explains how the network is built.

    Args:
        depths: The sub-nets: depths that the backbone knows, such as `(18, 34, 50)`, or a mapping from names to blocks
            per stage, such as `{"tiny": (1, 1, 1, 1), "small": (2, 2, 2, 2)}`. They must nest. Defaults to
            `(18, 34, 50)`. The 50 of `"resnet"` has basic blocks and is not the paper's ResNet-50.
        backbone: The family: `"resnet"` (the default), `"resnet_bottleneck"`, `"resnet_cifar"`, `"vgg"`,
            `"mobilenet_v2"`, `"efficientnet_lite"` or `"densenet"`; or a backbone of your own, see
            `ddnn_keras/backbones/README.md`.
        num_classes: Number of classes, an integer of 2 or more. Defaults to `10`.
        input_shape: `(height, width, channels)` of an image, positive integers. Defaults to `(32, 32, 3)`.
        width: Channels of the first stage (of the first convolution in MobileNetV2); all others are in proportion.
            Defaults to the published width: `16` for `"resnet_cifar"`, `32` for `"mobilenet_v2"` and
            `"efficientnet_lite"` (where it is 32 times the width multiplier, such as `32 * 1.1`), else `64`.
        stem: The layers before the first stage. For the ResNets, `"cifar"` (the default) keeps the resolution,
            `"strided"` halves it and `"imagenet"` quarters it.
        pixel_mean: Subtracted from each pixel: a number, or one for each channel. Defaults to `127.5`.
        pixel_std: Divides each pixel after that. Defaults to `127.5`, so that 0..255 becomes -1..1.
        quantization_aware: Whether the forward pass rounds weights and activations to 8 bits, as int8 files do.
            Defaults to `False`. See `ddnn_keras.quantization_aware.quantization_aware`.
        dtype: The dtype policy of the layers. Defaults to Keras' global one.
        name: The model's name. Defaults to `"ddnn"`.

    Input: raw pixels 0..255, shape `(batch, height, width, channels)`.

    Output: a dict of logits of shape `(batch, num_classes)`, with keys such as `"depth_18"`.

    Labels and sample weights, in `fit` and `evaluate`: one array for all depths, a dict by output key, or a list in the
    order of `depths`.

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
        build.check_arguments(input_shape, num_classes, pixel_mean=pixel_mean, pixel_std=pixel_std)
        # Keras' layers and JSON take no NumPy integers.
        num_classes = int(num_classes)
        input_shape = tuple(int(size) for size in input_shape)
        family = make_backbone(backbone, width, stem)
        depths = resolve_depths(depths, family.DEPTHS)
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())

        image = keras.Input(input_shape, name="image")
        normalized = build.normalize_pixels(image, pixel_mean, pixel_std, policy)
        logits, features = build.grow_outputs(family, normalized, depths, num_classes, policy)
        if quantization_aware:
            if policy.name != "float32":
                raise ValueError(f"`dtype` must be float32 with `quantization_aware`. Received: dtype={policy.name!r}")
            image, (logits, features) = fake_quantized(image, (logits, features))
        super().__init__(inputs=image, outputs=logits, name=name)
        self.dtype_policy = policy
        # Without it, Keras would take one image without a batch axis for a batch of rows.
        self.input_spec = keras.layers.InputSpec(shape=(None, *input_shape), name="image")

        with_features = keras.Model(self.input, {"logits": self.output, "features": features})
        with_features.input_spec, with_features.dtype_policy = self.input_spec, policy
        # In namespaces, because Keras would save the layers of attributes a second time.
        self._with_features = types.SimpleNamespace(network=with_features)
        self._untrained = types.SimpleNamespace(backbone=family, subnets={})
        # Keras gives a loss the logits alone. Each thread has its own, for tf.distribute's replicas.
        self._latest_pass = threading.local()
        self._depths = tuple(depths.items())
        self._compiled_distillation = CompiledDistillation(None, self.output_keys)
        self._saved_distillation = None
        self._labelled = ()
        self._settings_at_first = layer_overrides.layer_settings(self)
        self._arguments = {
            # Pairs, because the keys of a JSON object are strings and most depths are integers.
            "depths": [[depth, [int(count) for count in blocks]] for depth, blocks in self._depths],
            "backbone": backbone,
            "num_classes": num_classes,
            "input_shape": list(input_shape),
            "width": without_numpy(width),
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
        a copy. So the full-net computes what the source computes, as logits. Layers that are frozen in the source are
        trainable, and those of augmentation are left out.

        Args:
            source: A functional `keras.Model` from one image to one output, with or without its classifier, such as
                those of `keras.applications` and KerasHub. It is not changed.
            depths: An integer: how many depths. They are spread evenly over multiply-accumulates, from one block in
                each stage to all blocks, and named by how many blocks they keep. Or a mapping from names to blocks per
                stage. Defaults to `3`.
            num_classes: Number of classes. Defaults to the source's, whose classifier then starts every depth's.
            preprocessing: What the source wants done to raw pixels 0..255 before it sees them: `None` for nothing,
                `"0..1"` for a division by 255, `"tf"`, `"torch"` or `"caffe"` as in `keras.applications`, or a pair of
                a mean and a deviation, numbers or one for each channel. Defaults to `"auto"`, which knows
                `keras.applications` and KerasHub's backbones by name. The network then does it: leave out
                `preprocess_input`.
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

        It gives logits. So compile it, to evaluate it alone, with a loss `from_logits=True`. Training it changes the
        weights that all depths share.

        Args:
            depth: One of `depths`, such as `18`; or the blocks per stage of an untrained depth, such as
                `(2, 3, 5, 2)`. An untrained depth needs `calibrate` before it is used, and again after training.

        Returns:
            A `keras.Model` from raw pixels to logits, with the layers of this depth only.

        Raises:
            ValueError: If the network does not hold this depth.
        """
        depth = self._name_or_blocks(depth)
        if isinstance(depth, tuple):
            return self._untrained_subnet(depth).subnet
        key = output_key(depth)
        subnet = keras.Model(self.input, self.output[key], name=key)
        subnet.input_spec, subnet.dtype_policy = self.input_spec, self.dtype_policy
        return subnet

    def calibrate(self, images, depth):
        """Computes the batch normalisation statistics of an untrained depth.

        Weights and trained depths do not change. The result belongs to the sub-net alone: the file of this network
        does not hold it, and training does not update it. So save the sub-net, or calibrate again.

        Args:
            images: Some hundred training images, raw pixels 0..255 of shape `(n, height, width, channels)`.
            depth: Blocks per stage, such as `(2, 3, 5, 2)`.

        Returns:
            The sub-net, as `subnet(depth)` gives it from now on.

        Example:
        >>> import numpy as np
        >>> model = DDNN(depths=(8, 20), backbone="resnet_cifar", width=4)
        >>> images = np.random.default_rng(0).uniform(0, 255, (16, 32, 32, 3))
        >>> model.calibrate(images, (1, 3, 2)).output_shape
        (None, 10)
        """
        depth, images = self._name_or_blocks(depth), checked_raw_images("images", images, self.input_shape[1:])
        if not isinstance(depth, tuple):
            raise ValueError(f"`depth` must be an untrained one, whose statistics are missing. Received: {depth!r}")
        self._untrained_subnet(depth).calibrate(images)
        return self.subnet(depth)

    def _name_or_blocks(self, depth):
        """The name of a trained depth, or the blocks of an untrained one."""
        depth = without_numpy(depth)
        if isinstance(depth, tuple | list):
            check_within(depth, list(self.depths.values())[-1])
            depth = tuple(map(int, depth))
            return next((name for name, blocks in self.depths.items() if blocks == depth), depth)
        if not is_name(depth) or depth not in self.depths:
            allowed = ", ".join(map(repr, self.depths))
            raise ValueError(f"`depth` must be one of {allowed}, or blocks per stage. Received: depth={depth!r}")
        return depth

    def _untrained_subnet(self, blocks):
        # New statistics would not fit the ranges of activations.
        if self._arguments["quantization_aware"]:
            raise ValueError(f"`depth` must be a trained one of a quantization-aware network. Received: depth={blocks}")
        if blocks not in self._untrained.subnets:
            self._untrained.subnets[blocks] = untrained_subnet(self, self._untrained.backbone, blocks)
        return self._untrained.subnets[blocks]

    def call(self, inputs, training=None, mask=None):
        """Logits of every depth. With `distillation`, the features stay known to `compute_loss` until the next call."""
        inputs = keras.tree.map_structure(lambda images: build.with_static_shape(images, self.input_shape), inputs)
        if not self._compiled_distillation.metrics:
            return super().call(inputs, training=bool(training), mask=mask)
        outputs = self._with_features.network.call(inputs, training=bool(training), mask=mask)
        vars(self._latest_pass).update(images=inputs, **outputs)
        return outputs["logits"]

    def features(self, inputs, training=False):
        """The output of every stage, from which attention maps are computed.

        Args:
            inputs: Raw pixels 0..255, shape `(batch, height, width, channels)`.
            training: Whether to normalise by the batch's own statistics. Defaults to `False`.

        Returns:
            A dict from output keys to lists of tensors of shape `(batch, height, width, channels)`, one for each
            stage. Depths that have not parted yet have the same tensors.

        Example:
        >>> import numpy as np
        >>> model = DDNN(depths=(8, 14), backbone="resnet_cifar", width=4)
        >>> [tuple(feature.shape) for feature in model.features(np.zeros((2, 32, 32, 3)))["depth_8"]]
        [(2, 32, 32, 4), (2, 16, 16, 8), (2, 8, 8, 16)]
        """
        return self._with_features.network(inputs, training=training)["features"]

    # Training. Keras' own steps do the work, or steps that a subclass overrides.

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
        """Configures the model for training. Call it again after you froze a layer.

        Args:
            optimizer: As for any Keras model.
            loss: One loss for every depth, or a dict by output key or a list in the order of `depths` with one for
                each. Keras' cross-entropies by name are those of logits. A depth that a dict leaves out has no loss
                and needs no labels. Defaults to `"sparse_categorical_crossentropy"`.
            loss_weights: Optional weights of the losses: a dict by output key, in which a missing weight is 1; or a
                list in the order of `depths` with one for each depth that has a loss.
            metrics: One list of metrics for every depth, or a dict by output key or a list of lists in the order of
                `depths`. By name, Keras' cross-entropies and the metrics that compare with a threshold, such as
                `"precision"`, are those of logits.
            weighted_metrics: Likewise, weighted by `sample_weight`.
            distillation: A `ddnn_keras.EKD`, or `None` (the default) for joint training on `loss` alone.
            jit_compile: As for any Keras model. A loaded network decides `"auto"` (the default) anew.
            **kwargs: Further arguments of `keras.Model.compile`.
        """
        if not isinstance(distillation, EKD | None):
            raise ValueError(
                f"`distillation` must be a ddnn_keras.EKD or None. Received: distillation={distillation!r}"
            )
        if self._saved_distillation and distillation is None:
            warnings.warn(
                f"`distillation` must be given to go on as this network was trained: {self._saved_distillation}. "
                "Received: distillation=None",
                stacklevel=2,
            )
        self._saved_distillation = None
        keys = self.output_keys
        losses = per_depth.losses_per_output(loss, keys)
        binary = keras.losses.BinaryCrossentropy | keras.losses.BinaryFocalCrossentropy
        if distillation and distillation.kl_weight and any(isinstance(one, binary) for one in (losses or {}).values()):
            warnings.warn(
                "`distillation` teaches probabilities of classes that exclude each other. Where an image has several "
                "labels, give EKD(kl_weight=0).",
                stacklevel=2,
            )
        metrics = per_depth.metrics_per_output(metrics, keys)
        weighted_metrics = per_depth.metrics_per_output(weighted_metrics, keys, "weighted_metrics")
        # Keras keeps those of an earlier `compile` if this one has none.
        self._compile_loss = self._compile_metrics = self.loss = None
        super().compile(
            optimizer=optimizer,
            loss=losses or None,
            loss_weights=per_depth.weights_per_output(loss_weights, [key for key in keys if key in (losses or ())]),
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            jit_compile=jit_compile,
            **kwargs,
        )
        self._asked_jit_compile = jit_compile
        used = [given for given in (losses, metrics, weighted_metrics) if given]
        self._labelled = tuple(key for key in keys if any(given.get(key) for given in used))
        self._compiled_distillation = CompiledDistillation(distillation, keys)
        fuses = keras.backend.backend() == "tensorflow" and not self.jit_compile  # XLA needs no other kernel
        tensorflow_speed.fuse_normalization(self.layers, fuses)
        tensorflow_speed.make_state(self)

    def fit(self, x=None, *args, **kwargs):
        """Trains the network, as any Keras model. Before its first step, it warns of pixels that are not raw.

        It looks at the first images of an array, of a `keras.utils.PyDataset`, and of a `tf.data.Dataset` whose
        length is known or infinite. Other iterables may give each image but once, and are not looked at.
        """
        # Once, because a large shuffle buffer takes long to fill.
        if self.compiled and self.optimizer and keras.ops.convert_to_numpy(self.optimizer.iterations) == 0:
            images = first_images(x)
            if hasattr(images, "__array__"):  # TensorFlow's too, on another backend
                warn_of_scaled("x", np.asarray(images[:AT_ONCE]))
        return super().fit(x, *args, **kwargs)

    @property
    def distillation(self):
        """The `distillation` that the model was compiled with."""
        return self._compiled_distillation.distillation

    def make_train_function(self, force=False):
        """Makes the function that `fit` calls for a step."""
        self._check_teacher()
        # Not in `compile`, because layers may be frozen between the two.
        tensorflow_speed.make_optimizer_state(self)
        return super().make_train_function(force)

    def _check_teacher(self):
        if self.distillation and self.distillation.lacks_teacher:
            raise ValueError(
                "`distillation` must be given again, because a file does not hold the network that taught: call "
                "`compile` with `EKD(teacher=...)` and, to go on as before, with `optimizer=model.optimizer`."
            )

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The sum of all depths' losses and of the weighted distillation terms.

        Distillation needs the features of the forward pass. So `y_pred` must be the output of this network's latest
        call, as it is in Keras' steps and usually in your own.

        Raises:
            ValueError: If `y_pred` is anything else and the network was compiled with `distillation`.
        """
        y, sample_weight = self._labels_and_weights(y, sample_weight)
        # Keras builds its losses on symbolic logits that no call gave.
        is_real = self._compile_loss is None or self._compile_loss.built
        distills = bool(self._compiled_distillation.metrics)
        # On TensorFlow, Keras cannot add up no losses at all.
        has_others = self._compile_loss is not None or self.losses or not distills
        loss = super().compute_loss(x, y, y_pred, sample_weight, training) if has_others else 0.0
        if not distills:
            return loss
        latest = vars(self._latest_pass)
        known = latest.get("logits", {})
        if known.keys() == y_pred.keys() and all(known[key] is logits for key, logits in y_pred.items()):
            if training:
                self._check_teacher()
            return loss + self._compiled_distillation(latest["images"], y_pred, latest["features"], sample_weight)
        if is_real:
            raise ValueError(
                "`y_pred` must be what this network's latest call gave: `distillation` needs the features behind it."
            )
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Updates every depth's metrics."""
        y, sample_weight = self._labels_and_weights(y, sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def _labels_and_weights(self, y, sample_weight):
        y = per_depth.labels_per_output(y, self.output_keys, self._labelled)
        return y, per_depth.sample_weights_per_output(sample_weight, self.output_keys)

    @property
    def metrics(self):
        """Keras' metrics, and the means of the distillation terms."""
        return super().metrics + self._compiled_distillation.metrics

    def quantize(self, *args, **kwargs):
        """Refuses with a `NotImplementedError`: Keras would replace variables that several depths share."""
        raise NotImplementedError(
            "`quantize` is not for a network of several depths: `export/to_tflite.py --quantize` makes integer files, "
            "`ddnn_keras.quantization_aware.quantization_aware` a copy that trains as these compute."
        )

    # Saving.

    def save(self, filepath, *args, **kwargs):
        """Saves the network as a `.keras` file. Refuses a `.h5` file, which cannot hold the `distillation`."""
        if self.distillation and str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                f"`filepath` must end in .keras, because HDF5 cannot hold `distillation`. Received: {filepath}"
            )
        super().save(filepath, *args, **kwargs)

    def get_config(self):
        """The constructor's arguments, `distillation`, the frozen layers, and changed settings of layers."""
        return {
            **self._arguments,
            **layer_overrides.frozen_config(self),
            "layer_settings": layer_overrides.changed_settings(self, self._settings_at_first),
            "backbone": keras.saving.serialize_keras_object(self._arguments["backbone"]),
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            # Not with the arguments of `compile`, which Keras passes on to a clone, a plain model.
            "distillation": keras.saving.serialize_keras_object(self.distillation),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the model that `get_config` describes."""
        arguments = dict(config)
        arguments["depths"] = {depth: tuple(blocks) for depth, blocks in config["depths"]}
        arguments["backbone"] = keras.saving.deserialize_keras_object(config["backbone"])
        frozen = {name: arguments.pop(name) for name in ("trainable", "frozen_layers")}
        settings = arguments.pop("layer_settings")
        distillation = keras.saving.deserialize_keras_object(arguments.pop("distillation", None))
        arguments.pop("layers_within", None)  # in files of version 0.1.0 before its release
        model = cls(**arguments)
        layer_overrides.freeze(model, **frozen)
        layer_overrides.change_settings(model, settings)
        model._saved_distillation = distillation
        return model

    def get_compile_config(self):
        """The arguments of `compile`, serialized."""
        config = super().get_compile_config()
        if config:
            # Keras keeps what "auto" came to, which may be wrong on another backend or device.
            config["jit_compile"] = self._asked_jit_compile
        return config

    def compile_from_config(self, config):
        """Compiles the model as `get_compile_config` describes."""
        arguments = keras.saving.deserialize_keras_object(config)
        # Files from before the first release have it among the arguments.
        self.compile(**{"distillation": self._saved_distillation, **arguments})
        tensorflow_speed.build_optimizer(self)


def first_images(x):
    """The images of the first batch, where looking at them takes none away: else what was given."""
    batch = [x]
    if isinstance(x, keras.utils.PyDataset):
        batch = x[0]
    # It is a property where data is distributed, and -2 is tf.data.UNKNOWN_CARDINALITY.
    elif callable(getattr(x, "cardinality", None)) and x.cardinality() != -2:
        batch = next(iter(x.take(1)), [None])
    return batch[0] if isinstance(batch, list | tuple) else batch
