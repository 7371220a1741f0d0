"""The network as a Keras model: outputs, sub-nets, training, saving."""

import math

import keras
import numpy as np
import pytest

from ddnn_keras import DDNN, EKD

# Paths part in stages 1 and 2.
# The deepest comes first in the alphabet, in which Keras sorts the outputs.
DEPTHS = {"c": (1, 1, 1), "b": (2, 1, 1), "a": (2, 2, 1)}
KEYS = ["depth_c", "depth_b", "depth_a"]


def small_network(**arguments):
    defaults = {"depths": DEPTHS, "backbone": "resnet_cifar", "width": 4, "num_classes": 3, "input_shape": (16, 16, 1)}
    return DDNN(**{**defaults, **arguments})


def compiled(model, **arguments):
    # XLA takes long to compile and is tested once.
    settings = {"optimizer": keras.optimizers.SGD(0.02, momentum=0.9), "jit_compile": False, "distillation": EKD()}
    model.compile(**{**settings, "metrics": ["accuracy"], **arguments})
    return model


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(3)


@pytest.fixture(scope="module")
def examples():
    """Images of three kinds of stripes, raw pixels."""
    random = np.random.default_rng(3)
    labels = random.integers(0, 3, 48)
    images = random.integers(0, 100, (48, 16, 16, 1))
    for image, label in zip(images, labels):
        image[:: label + 2] += 150
    return images.astype("uint8"), labels


def test_outputs_are_a_dict_of_logits(examples):
    model = small_network()
    logits = model.predict(examples[0], verbose=0)
    assert sorted(logits) == sorted(KEYS)
    assert all(value.shape == (48, 3) for value in logits.values())
    assert sorted(model.output_names) == sorted(KEYS)
    assert model.output_keys == KEYS
    assert model.depths == DEPTHS


@pytest.mark.parametrize(("depth", "parameters"), [(18, 11_689_512), (34, 21_797_672), (50, 31_243_048)])
def test_subnets_have_the_published_parameter_counts(imagenet_network, depth, parameters):
    subnet = imagenet_network.subnet(depth)
    assert sum(math.prod(variable.shape) for variable in subnet.trainable_variables) == parameters


@pytest.fixture(scope="module")
def imagenet_network():
    return DDNN(depths=(18, 34, 50), num_classes=1000, input_shape=(224, 224, 3), stem="imagenet")


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_subnet_is_a_plain_model_with_the_same_logits_and_variables(examples, depth):
    model = small_network()
    subnet = model.subnet(depth)
    key = f"depth_{depth}"
    assert type(subnet).__module__.startswith("keras.")
    assert {id(variable) for variable in subnet.variables} <= {id(variable) for variable in model.variables}
    np.testing.assert_array_equal(subnet.predict(examples[0], verbose=0), model.predict(examples[0], verbose=0)[key])
    # Nothing of the other depths: the sub-net of a network of this depth alone has as many variables.
    alone = small_network(depths={depth: DEPTHS[depth]}).subnet(depth)
    assert [variable.shape for variable in subnet.variables] == [variable.shape for variable in alone.variables]


def test_all_subnets_together_hold_the_whole_network():
    model = small_network()
    held = {id(variable) for depth in DEPTHS for variable in model.subnet(depth).variables}
    assert held == {id(variable) for variable in model.variables}


def test_a_saved_subnet_needs_no_library_of_ours(examples, tmp_path):
    subnet = small_network().subnet("b")
    subnet.save(tmp_path / "subnet.keras")
    assert "ddnn_keras" not in str(subnet.get_config())
    loaded = keras.saving.load_model(tmp_path / "subnet.keras")
    np.testing.assert_array_equal(loaded.predict(examples[0], verbose=0), subnet.predict(examples[0], verbose=0))


# Training


def test_fit_learns_and_logs_every_term_and_metric_of_every_depth(examples):
    model = compiled(small_network())
    history = model.fit(*examples, epochs=8, batch_size=16, validation_data=examples, verbose=0).history
    quantities = [f"{key}_{name}" for key in KEYS for name in ("loss", "accuracy")]
    quantities += [f"{key}_{name}" for key in KEYS[:2] for name in ("kl_loss", "attention_loss")]
    assert set(history) == {prefix + name for prefix in ("", "val_") for name in ["loss", *quantities]}
    assert history["loss"][-1] < history["loss"][0] / 2
    assert all(history[f"{key}_accuracy"][-1] > 0.9 for key in KEYS)


def test_the_loss_is_the_sum_of_the_logged_terms(examples):
    model = compiled(small_network(), distillation=EKD(temperature=2.0, kl_weight=0.5, attention_weight=0.25))
    logs = model.evaluate(*examples, batch_size=16, return_dict=True, verbose=0)
    expected = sum(logs[f"{key}_loss"] for key in KEYS)
    expected += sum(0.5 * logs[f"{key}_kl_loss"] + 0.25 * logs[f"{key}_attention_loss"] for key in KEYS[:2])
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def test_without_distillation_the_loss_is_joint_cross_entropy(examples):
    model = compiled(small_network(), distillation=None)
    logs = model.evaluate(*examples, return_dict=True, verbose=0)
    logits = model.predict(examples[0], verbose=0)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert logs["loss"] == pytest.approx(sum(float(cross_entropy(examples[1], logits[key])) for key in KEYS), rel=1e-4)
    assert not any("kl" in name or "attention" in name for name in logs)


@pytest.mark.parametrize("loss", [None, {}])
def test_the_full_net_can_teach_without_labels(examples, loss):
    model = compiled(small_network(), loss=loss, metrics=None)
    logs = model.fit(examples[0], batch_size=16, verbose=0).history
    assert set(logs) == {"loss"} | {f"{key}_{name}" for key in KEYS[:2] for name in ("kl_loss", "attention_loss")}
    logs = model.evaluate(examples[0], batch_size=16, return_dict=True, verbose=0)
    expected = sum(logs[f"{key}_kl_loss"] + 0.1 * logs[f"{key}_attention_loss"] for key in KEYS[:2])
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def gradients(model, images):
    """Gradients of the distillation terms alone, by variable path."""
    tf = pytest.importorskip("tensorflow")
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = model._compiled_distillation(logits, model._latest_pass.features_of(logits))
    found = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    return {variable.path: gradient for variable, gradient in zip(model.trainable_variables, found)}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes gradients with TensorFlow")
@pytest.mark.parametrize("attention", ["standardized", "activation"])
def test_distillation_never_moves_what_only_the_full_net_uses(examples, attention):
    model = compiled(small_network(), distillation=EKD(temperature=2.0, attention_weight=10.0, attention=attention))
    students = {id(variable) for depth in ("c", "b") for variable in model.subnet(depth).trainable_variables}
    owned = {variable.path for variable in model.trainable_variables if id(variable) not in students}
    assert len(owned) > 5
    found = gradients(model, examples[0][:8])
    for path, gradient in found.items():
        if path in owned:
            assert gradient is None or not np.any(gradient), path
        else:
            assert gradient is not None and np.any(gradient), path


def test_sample_weights_scale_all_that_a_sample_adds(examples):
    images, labels = examples
    model = compiled(small_network())
    weights = np.repeat([0.0, 2.0], 24)
    weighted = model.evaluate(images, labels, sample_weight=weights, return_dict=True, verbose=0, batch_size=48)
    heavy_half = model.evaluate(images[24:], labels[24:], return_dict=True, verbose=0, batch_size=24)
    # Keras divides by the number of samples, not by the sum of weights: 24 samples of weight 2 over 48.
    for name in ("loss", "depth_c_loss", "depth_c_kl_loss", "depth_b_attention_loss"):
        assert weighted[name] == pytest.approx(heavy_half[name], rel=1e-4), name
    assert weighted["depth_c_accuracy"] == pytest.approx(
        model.evaluate(images, labels, return_dict=True, verbose=0)["depth_c_accuracy"]
    )


def test_class_weights(examples):
    images, labels = examples
    histories = []
    for arguments in ({"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}}, {"sample_weight": np.array([1, 3, 0.5])[labels]}):
        keras.utils.set_random_seed(1)
        model = compiled(small_network())
        histories.append(model.fit(images, labels, shuffle=False, verbose=0, **arguments).history["loss"])
    assert histories[0] == pytest.approx(histories[1], rel=1e-5)


def test_losses_and_metrics_may_differ_by_depth(examples):
    model = compiled(
        small_network(),
        loss={key: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for key in KEYS},
        loss_weights={"depth_c": 0.5, "depth_b": 1.0, "depth_a": 2.0},
        metrics={"depth_c": ["accuracy"], "depth_b": [], "depth_a": [keras.metrics.SparseTopKCategoricalAccuracy(2)]},
        distillation=None,
    )
    # Keras' losses per output weigh batches alike, whatever their size.
    logs = model.evaluate(*examples, batch_size=16, return_dict=True, verbose=0)
    assert {name for name in logs if "acc" in name} == {
        "depth_c_accuracy",
        "depth_a_sparse_top_k_categorical_accuracy",
    }
    assert logs["loss"] == pytest.approx(
        0.5 * logs["depth_c_loss"] + logs["depth_b_loss"] + 2 * logs["depth_a_loss"], rel=1e-5
    )


@pytest.mark.parametrize("arguments", [{"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 3}])
def test_every_way_to_run_a_step_gives_the_same_losses(examples, arguments):
    histories = []
    for settings in ({}, arguments):
        keras.utils.set_random_seed(1)
        model = compiled(small_network(depths={"c": (1, 1, 1), "a": (1, 2, 1)}), **settings)
        histories.append(model.fit(*examples, batch_size=16, epochs=2, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-3)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(examples, policy, tmp_path):
    model = compiled(small_network(dtype=policy))
    assert model.get_layer("stem_conv").compute_dtype == policy.removeprefix("mixed_")
    history = model.fit(*examples, epochs=6, batch_size=16, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] / 1.5
    assert np.isfinite(history["depth_c_attention_loss"]).all()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.dtype_policy.name == policy
    logits = model.predict(examples[0], verbose=0)["depth_b"]
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(loaded.predict(examples[0], verbose=0)["depth_b"], logits)


def test_callbacks_see_the_logs(examples):
    model = compiled(small_network())
    stop = keras.callbacks.EarlyStopping("val_depth_c_accuracy", mode="max", patience=0, min_delta=2.0)
    history = model.fit(*examples, epochs=5, validation_data=examples, callbacks=[stop], verbose=0)
    assert len(history.epoch) == 2


def test_train_on_batch_and_test_on_batch(examples):
    model = compiled(small_network())
    before = model.test_on_batch(*examples, return_dict=True)
    trained = model.train_on_batch(*examples, return_dict=True)
    assert set(before) == set(trained)
    assert "depth_c_kl_loss" in trained


def test_recompiling_changes_the_distillation(examples):
    model = compiled(small_network())
    model.evaluate(*examples, verbose=0)
    compiled(model, distillation=EKD(attention_weight=0))
    logs = model.evaluate(*examples, return_dict=True, verbose=0)
    assert "depth_c_kl_loss" in logs
    assert "depth_c_attention_loss" not in logs


def test_of_two_compiles_the_last_decides(examples):
    images, labels = examples
    model = compiled(small_network(), metrics=["accuracy"], distillation=EKD())
    compiled(model, loss=None, metrics=None)
    fresh = small_network()
    fresh.set_weights(model.get_weights())
    compiled(fresh, loss=None, metrics=None)
    logs = model.train_on_batch(images, return_dict=True)
    assert logs == pytest.approx(fresh.train_on_batch(images, return_dict=True), rel=1e-5)
    assert "depth_c_kl_loss" in logs and not {"depth_c_loss", "depth_c_accuracy"} & set(logs)
    compiled(model)
    compiled(model, loss={"depth_c": "sparse_categorical_crossentropy"}, metrics=None, distillation=None)
    assert "depth_a_accuracy" not in model.test_on_batch(images, {"depth_c": labels}, return_dict=True)


def test_a_single_depth_trains_like_any_model(examples):
    model = compiled(small_network(depths={"c": (1, 1, 1)}))
    history = model.fit(*examples, epochs=1, verbose=0).history
    assert set(history) == {"loss", "accuracy"}


def test_a_call_gives_logits_alone_even_in_training_mode(examples):
    model = compiled(small_network())
    model.train_on_batch(*examples)
    assert sorted(model(examples[0][:2], training=True)) == sorted(KEYS)


# Saving


def assert_same_behaviour(model, loaded, examples):
    images, labels = examples
    for key in KEYS:
        np.testing.assert_array_equal(model.predict(images, verbose=0)[key], loaded.predict(images, verbose=0)[key])
    histories = [
        each.fit(images, labels, epochs=2, shuffle=False, batch_size=16, verbose=0).history for each in (model, loaded)
    ]
    for name, values in histories[0].items():
        assert histories[1][name] == pytest.approx(values, rel=1e-4), name


def test_untrained_model_survives_saving(examples, tmp_path):
    model = small_network(pixel_mean=[100.0], stem="imagenet", input_shape=(32, 32, 1))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    assert loaded.depths == DEPTHS
    images = np.zeros((1, 32, 32, 1))
    np.testing.assert_array_equal(loaded(images)["depth_c"], model(images)["depth_c"])


def test_integer_depths_stay_integers(tmp_path):
    model = DDNN(depths=(10, 18), width=2, input_shape=(8, 8, 1))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.depths == {10: (1, 1, 1, 1), 18: (2, 2, 2, 2)}
    assert loaded.subnet(18).output_shape == (None, 10)


def test_compiled_model_survives_saving(examples, tmp_path):
    model = compiled(small_network(), metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.distillation == EKD()
    assert_same_behaviour(model, loaded, examples)


def test_training_goes_on_after_loading_as_if_never_interrupted(examples, tmp_path):
    model = compiled(small_network(), distillation=EKD(temperature=2.0, attention="activation", attention_weight=5.0))
    model.fit(*examples, epochs=2, batch_size=16, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.distillation.attention == "activation"
    assert int(loaded.optimizer.iterations) == 6
    assert_same_behaviour(model, loaded, examples)


def test_weights_alone(examples, tmp_path):
    model = small_network()
    model.save_weights(tmp_path / "model.weights.h5")
    other = small_network()
    other.load_weights(tmp_path / "model.weights.h5")
    images = examples[0]
    np.testing.assert_array_equal(
        other.predict(images, verbose=0)["depth_b"], model.predict(images, verbose=0)["depth_b"]
    )


def test_what_was_changed_in_normalisations_is_saved(examples, tmp_path):
    model = small_network()
    assert model.get_config()["layer_settings"] == {}
    changed = model.get_layer("stem_bn_depth_a")
    changed.momentum, changed.epsilon = 0.99, 0.5
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    assert loaded.get_layer("stem_bn_depth_a").momentum == 0.99
    np.testing.assert_array_equal(*(network.predict(examples[0], verbose=0)["depth_b"] for network in (loaded, model)))


def dropouts(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]


def test_a_changed_dropout_is_saved(tmp_path):
    model = DDNN((11, 16), "vgg", width=2, num_classes=3, input_shape=(32, 32, 1), stem="imagenet")
    for dropout in dropouts(model)[1:]:
        dropout.rate = 0.125
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [dropout.rate for dropout in dropouts(loaded)] == [0.5, 0.125, 0.125, 0.125]


def test_files_in_which_only_normalisations_had_settings():
    config = small_network().get_config()
    del config["layer_settings"]
    model = DDNN.from_config({**config, "normalization": {"stem_bn_depth_a": {"momentum": 0.99, "epsilon": 0.5}}})
    assert model.get_layer("stem_bn_depth_a").momentum == 0.99


@keras.saving.register_keras_serializable("tests")
class CompiledWithMore(DDNN):
    """As in Keras' guide to distillation: a `compile` with an argument of its own."""

    def compile(self, optimizer, alpha, **arguments):
        super().compile(optimizer, **arguments)
        self.alpha = alpha


def test_a_compile_of_ones_own_is_called_again_by_hand(examples, tmp_path):
    model = CompiledWithMore(DEPTHS, "resnet_cifar", num_classes=3, input_shape=(16, 16, 1), width=4)
    model.compile("sgd", alpha=0.5, distillation=EKD())
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match=r"CompiledWithMore must be compiled anew: it overrides `compile\(\)`"):
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.distillation is None
    np.testing.assert_array_equal(*(network.predict(examples[0], verbose=0)["depth_b"] for network in (loaded, model)))


# Errors


def test_quantization_in_place_is_refused():
    with pytest.raises(NotImplementedError, match=r"^`quantize` is not for a network of several depths:"):
        small_network().quantize("int8")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"depths": ()}, "depths=()"),
        ({"depths": (8, 17)}, "17"),
        ({"backbone": "resnext"}, "backbone='resnext'"),
        ({"stem": "mnist"}, "stem='mnist'"),
        ({"backbone": "vgg", "stem": "strided"}, "`stem` must be one of 'cifar', 'imagenet'. Received: stem='strided'"),
        ({"width": 0}, "width=0"),
        ({"width": 1.5}, "width=1.5"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"num_classes": 1}, "num_classes=1"),
        ({"input_shape": (32, 32)}, "input_shape=(32, 32)"),
        ({"input_shape": (None, None, 3)}, "input_shape=(None, None, 3)"),
        ({"input_shape": (0, 32, 3)}, "input_shape=(0, 32, 3)"),
        ({"num_classes": True}, "num_classes=True"),
        ({"pixel_std": 0.0}, "pixel_std=0.0"),
        ({"pixel_std": float("nan")}, "pixel_std=nan"),
        ({"pixel_mean": [1.0, 2.0]}, "pixel_mean=[1.0, 2.0]"),
    ],
)
def test_constructor_errors_name_the_value(arguments, named):
    with pytest.raises(ValueError) as error:
        small_network(**arguments)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_channels_first():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match=r"image_data_format\(\)` must be 'channels_last'\. Received: 'ch"):
            small_network()
    finally:
        keras.config.set_image_data_format("channels_last")


def test_one_image_is_no_batch_of_rows():
    model = DDNN({"a": (1, 1, 1), "b": (2, 2, 2)}, "resnet_cifar", width=2, input_shape=(16, 16, 1))
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 1))
    for network in (model, model.subnet("a"), model.calibrate(images, (1, 2, 2))):
        with pytest.raises(ValueError, match=r"is incompatible with the layer: expected ndim=4, found ndim=3"):
            network(images[0])


def test_unknown_depth_of_a_subnet():
    with pytest.raises(ValueError, match=r"`depth` must be one of 'c', 'b', 'a', or blocks per stage. Received: "):
        small_network().subnet(18)


@pytest.mark.parametrize("distillation", ["ekd", EKD])
def test_wrong_distillation(distillation):
    with pytest.raises(ValueError, match=r"ddnn_keras.EKD or None. Received: distillation=('ekd'|<class)"):
        small_network().compile("sgd", distillation=distillation)


@pytest.mark.parametrize("reduction", ["sum", None, "mean_with_sample_weight"])
def test_distillation_wants_losses_that_are_means(reduction):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    small_network().compile("sgd", loss=loss)
    with pytest.raises(ValueError, match=r"^`loss` must have the reduction 'sum_over_batch_size' or 'mean' beside "):
        small_network().compile("sgd", loss=loss, distillation=EKD())


@pytest.mark.parametrize("shape", [(1, 16, 20, 1), (2, 16, 16, 3), (16, 16, 1), (2, 16, 16)])
@pytest.mark.parametrize("method", ["__call__", "features"])
def test_wrong_image_shape(shape, method):
    with pytest.raises(ValueError) as error:
        getattr(small_network(), method)(np.zeros(shape))
    assert str(shape) in str(error.value)
    assert ("expected shape=(None, 16, 16, 1)" if len(shape) == 4 else "expected ndim=4") in str(error.value)
    assert "\n" not in str(error.value)


def test_numpy_integers_are_integers(tmp_path):
    numpys = {"num_classes": np.int64(3), "width": np.int32(2), "pixel_std": np.array([64.0])}
    model = small_network(**numpys, input_shape=tuple(np.array([16, 16, 1])))
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").get_config() == model.get_config()


def test_whether_steps_are_compiled_is_decided_where_a_network_is_loaded():
    """By what that backend does best: a network that was saved with JAX is not one for XLA everywhere."""
    model = DDNN((8, 14), "resnet_cifar", width=2, input_shape=(16, 16, 1))
    model.compile("sgd")
    assert model.get_compile_config()["jit_compile"] == "auto"
    model.compile("sgd", jit_compile=False)
    assert model.get_compile_config()["jit_compile"] is False


def test_a_clone_of_a_compiled_network_is_what_keras_makes_of_it():
    model = DDNN((8, 14), "resnet_cifar", width=2, input_shape=(16, 16, 1))
    model.compile("sgd", jit_compile=False)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 1))
    for key, logits in model.predict(images, verbose=0).items():
        np.testing.assert_allclose(clone.predict(images, verbose=0)[key], logits, atol=1e-5)
    assert clone.compiled
