import collections

import keras
import numpy as np
import pytest

from ddnn_keras import DDNN, EKD
from ddnn_keras.network.graph import nodes_before

# Paths part in stages 1 and 2.
# The deepest comes first in the alphabet, in which Keras sorts the outputs.
DEPTHS = {"c": (1, 1, 1), "b": (2, 1, 1), "a": (2, 2, 1)}
KEYS = ["depth_c", "depth_b", "depth_a"]


def small_network(**arguments):
    defaults = {"depths": DEPTHS, "backbone": "resnet_cifar", "width": 4, "num_classes": 3, "input_shape": (16, 16, 1)}
    return DDNN(**{**defaults, **arguments})


def compiled(model, **arguments):
    """A network whose steps are neither compiled nor traced, which takes longer than to run a few."""
    settings = {"optimizer": keras.optimizers.SGD(0.02, momentum=0.9), "run_eagerly": True, "distillation": EKD()}
    model.compile(**{**settings, "metrics": ["accuracy"], **arguments})
    return model


def check_same_logits(one, other, images):
    for key, logits in one(images).items():
        np.testing.assert_array_equal(other(images)[key], logits)


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


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_subnet_is_a_plain_model_with_the_same_logits_and_variables(network, examples, depth):
    subnet = network.subnet(depth)
    assert type(subnet).__module__.startswith("keras.")
    assert {id(variable) for variable in subnet.variables} <= {id(variable) for variable in network.variables}
    np.testing.assert_array_equal(subnet(examples[0]), network(examples[0])[f"depth_{depth}"])
    # Nothing of the other depths: the sub-net of a network of this depth alone has as many variables.
    alone = small_network(depths={depth: DEPTHS[depth]}).subnet(depth)
    assert [variable.shape for variable in subnet.variables] == [variable.shape for variable in alone.variables]


def test_all_subnets_together_hold_the_whole_network(network):
    held = {id(variable) for depth in DEPTHS for variable in network.subnet(depth).variables}
    assert held == {id(variable) for variable in network.variables}


def test_convolutions_are_shared_and_normalisation_is_private_once_paths_have_parted(network):
    names = {depth: {layer.name for layer in network.subnet(depth).layers if layer.weights} for depth in DEPTHS}
    convolutions = {depth: {name for name in names[depth] if "conv" in name} for depth in DEPTHS}
    assert convolutions["c"] < convolutions["b"] < convolutions["a"]
    # Up to the first block of stage 1 everything is common; from stage 2 on, `c` has its own normalisation.
    assert "stage1_block1_bn1_depth_a" in names["c"] & names["b"] & names["a"]
    assert "stage2_block1_bn1_depth_c" in names["c"] - names["b"] - names["a"]
    # `b` and `a` part in stage 2.
    assert "stage2_block1_bn1_depth_a" in (names["b"] & names["a"]) - names["c"]
    assert "stage3_block1_bn1_depth_b" in names["b"] - names["a"]
    # What is common is computed once.
    calls = collections.Counter(node.operation.name for node in nodes_before(network.outputs))
    blocks = ("stage1_block1", "stage1_block2", "stage2_block1", "stage2_block2", "stage3_block1")
    assert [calls[f"{block}_conv1"] for block in blocks] == [1, 1, 2, 1, 3]


def test_pixels_are_normalised_within():
    images = np.random.default_rng(3).uniform(0, 255, (8, 16, 16, 3))
    mean, std = [120.0, 110.0, 100.0], [60.0, 55.0, 50.0]
    raw = small_network(input_shape=(16, 16, 3), pixel_mean=mean, pixel_std=std)
    ready = small_network(input_shape=(16, 16, 3), pixel_mean=0.0, pixel_std=1.0)
    ready.set_weights(raw.get_weights())
    expected = ready.predict((images - mean) / std, verbose=0)["depth_a"]
    np.testing.assert_allclose(raw.predict(images, verbose=0)["depth_a"], expected, atol=1e-5)


def test_a_saved_subnet_needs_no_library_of_ours(network, examples, tmp_path):
    network.compile("sgd", distillation=EKD())
    subnet = network.subnet("b")
    subnet.save(tmp_path / "subnet.keras")
    assert "ddnn_keras" not in str(subnet.get_config())
    loaded = keras.saving.load_model(tmp_path / "subnet.keras")
    np.testing.assert_array_equal(loaded(examples[0]), subnet(examples[0]))


def test_fit_learns_and_logs_every_term_and_metric_of_every_depth(examples):
    model = compiled(small_network(), run_eagerly=False, jit_compile=False)
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
    logits = model(examples[0])
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert logs["loss"] == pytest.approx(sum(float(cross_entropy(examples[1], logits[key])) for key in KEYS), rel=1e-4)
    assert not any("kl" in name or "attention" in name for name in logs)


@pytest.mark.parametrize("loss", [None, {}])
def test_the_full_net_can_teach_without_labels(examples, loss):
    model = compiled(small_network(), loss=loss, metrics=None)
    logs = model.fit(examples[0], batch_size=48, verbose=0).history
    assert set(logs) == {"loss"} | {f"{key}_{name}" for key in KEYS[:2] for name in ("kl_loss", "attention_loss")}
    logs = model.evaluate(examples[0], batch_size=16, return_dict=True, verbose=0)
    expected = sum(logs[f"{key}_kl_loss"] + 0.1 * logs[f"{key}_attention_loss"] for key in KEYS[:2])
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("attention", ["standardized", "activation"])
def test_distillation_never_moves_what_only_the_full_net_uses(examples, attention):
    import tensorflow as tf

    model = compiled(small_network(), distillation=EKD(temperature=2.0, attention_weight=10.0, attention=attention))
    with tf.GradientTape() as tape:
        logits = model(examples[0][:8], training=True)
        latest = vars(model._latest_pass)
        loss = model._compiled_distillation(latest["images"], logits, latest["features"])
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables], unconnected_gradients="zero")
    moved = {variable.path for variable, gradient in zip(variables, gradients) if np.any(gradient)}
    students = {variable.path for depth in ("c", "b") for variable in model.subnet(depth).trainable_variables}
    assert moved == students and len(moved) < len(variables) - 5


def test_sample_weights_scale_all_that_a_sample_adds(examples):
    images, labels = examples
    model = compiled(small_network())
    weights = np.repeat([0.0, 2.0], 24)
    weighted = model.evaluate(images, labels, sample_weight=weights, return_dict=True, verbose=0, batch_size=48)
    heavy_half = model.evaluate(images[24:], labels[24:], return_dict=True, verbose=0, batch_size=24)
    # Keras divides by the number of samples, not by the sum of weights: 24 samples of weight 2 over 48.
    for name in ("loss", "depth_c_loss", "depth_c_kl_loss", "depth_b_attention_loss"):
        assert weighted[name] == pytest.approx(heavy_half[name], rel=1e-4), name


def test_class_weights(examples):
    images, labels = examples
    histories = []
    for arguments in ({"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}}, {"sample_weight": np.array([1, 3, 0.5])[labels]}):
        keras.utils.set_random_seed(1)
        model = compiled(small_network())
        histories.append(model.fit(images, labels, batch_size=48, verbose=0, **arguments).history["loss"])
    assert histories[0] == pytest.approx(histories[1], rel=1e-5)


@pytest.mark.slow
def test_every_way_to_run_a_step_gives_the_same_losses(examples):
    losses = []
    for arguments in ({}, {"jit_compile": True}, {"jit_compile": False, "steps_per_execution": 3}):
        keras.utils.set_random_seed(1)
        model = compiled(small_network(depths={"c": (1, 1, 1), "a": (1, 2, 1)}), run_eagerly=not arguments, **arguments)
        losses.append(model.fit(*examples, batch_size=16, epochs=2, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[1:], losses[:1] * 2, rtol=1e-3)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(examples, policy, tmp_path):
    model = compiled(small_network(depths={"c": (1, 1, 1), "a": (1, 2, 1)}, dtype=policy))
    assert model.get_layer("stem_conv").compute_dtype == policy.removeprefix("mixed_")
    history = model.fit(*examples, epochs=2, batch_size=24, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] and np.isfinite(history["depth_c_attention_loss"]).all()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.dtype_policy.name == model.subnet("c").dtype_policy.name == policy
    assert model(examples[0])["depth_c"].dtype == np.float32
    check_same_logits(loaded, model, examples[0])


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
    assert set(model.fit(*examples, verbose=0).history) == {"loss", "accuracy"}


def test_training_goes_on_after_loading_as_if_never_interrupted(examples, tmp_path):
    metric = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")
    distillation = EKD(temperature=2.0, kl_weight=0.1, attention="activation", attention_weight=5.0)
    model = compiled(small_network(), distillation=distillation, metrics=[metric])
    model.fit(*examples, batch_size=16, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.distillation == distillation
    assert int(loaded.optimizer.iterations) == 3
    check_same_logits(loaded, model, examples[0])
    histories = [each.fit(*examples, shuffle=False, batch_size=16, verbose=0).history for each in (model, loaded)]
    assert histories[1] == pytest.approx(histories[0], rel=1e-4)
    assert "depth_a_top2" in histories[0]


def test_quantization_in_place_is_refused(network):
    with pytest.raises(NotImplementedError, match=r"^`quantize` is not for a network of several depths:"):
        network.quantize("int8")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"depths": (8, 17)}, "17"),
        ({"backbone": "resnext"}, "backbone='resnext'"),
        ({"stem": "mnist"}, "stem='mnist'"),
        ({"backbone": "vgg", "stem": "strided"}, "`stem` must be one of 'cifar', 'imagenet'. Received: stem='strided'"),
        ({"num_classes": 1}, "num_classes=1"),
        ({"input_shape": (32, 32)}, "input_shape=(32, 32)"),
        ({"input_shape": (None, None, 3)}, "input_shape=(None, None, 3)"),
        ({"pixel_std": 0.0}, "pixel_std=0.0"),
        ({"pixel_mean": [1.0, 2.0]}, "pixel_mean=[1.0, 2.0]"),
    ],
)
def test_constructor_errors_name_the_value(arguments, named):
    with pytest.raises(ValueError) as error:
        small_network(**arguments)
    assert named in str(error.value) and "\n" not in str(error.value)


def test_channels_first(monkeypatch):
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(ValueError, match=r"image_data_format\(\)` must be 'channels_last'\. Received: 'ch"):
        small_network()


@pytest.mark.parametrize("distillation", ["ekd", EKD])
def test_wrong_distillation(network, distillation):
    with pytest.raises(ValueError, match=r"ddnn_keras.EKD or None. Received: distillation=('ekd'|<class)"):
        network.compile("sgd", distillation=distillation)


@pytest.mark.parametrize("shape", [(1, 16, 20, 1), (2, 16, 16, 3), (16, 16, 1), (2, 16, 16)])
def test_wrong_image_shape(network, shape):
    calibrated = network.calibrate(np.full((2, 16, 16, 1), 99), (1, 2, 1))
    for call in (network, network.features, network.subnet("c"), calibrated):
        with pytest.raises(ValueError) as error:
            call(np.zeros(shape))
        assert str(shape) in str(error.value) and "\n" not in str(error.value)
        assert ("expected shape=(None, 16, 16, 1)" if len(shape) == 4 else "expected ndim=4") in str(error.value)


def test_an_untrained_network_survives_saving_and_numbers_of_numpy_are_pythons(tmp_path):
    numpys = {"num_classes": np.int64(3), "width": np.int32(2), "pixel_std": np.array([64.0])}
    others = {"pixel_mean": [100.0], "stem": "strided", "input_shape": tuple(np.array([16, 16, 1]))}
    model = small_network(**numpys, **others, depths=(np.int64(8), 14))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    assert loaded.depths == {8: (1, 1, 1), 14: (2, 2, 2)}
    check_same_logits(loaded, model, np.zeros((1, 16, 16, 1)))


def test_whether_steps_are_compiled_is_decided_where_a_network_is_loaded(network):
    network.compile("sgd")
    assert network.get_compile_config()["jit_compile"] == "auto"
    network.compile("sgd", jit_compile=False)
    assert network.get_compile_config()["jit_compile"] is False


@pytest.mark.parametrize("distillation", [None, EKD()])
def test_a_clone_of_a_compiled_network_is_a_plain_model_with_its_losses(network, examples, distillation):
    images, labels = examples
    compiled(network, distillation=distillation)
    clone = keras.models.clone_model(network)
    clone.set_weights(network.get_weights())
    found = clone.evaluate(images, dict.fromkeys(KEYS, labels), return_dict=True, verbose=0)
    wanted = network.evaluate(images, labels, return_dict=True, verbose=0)
    assert found == pytest.approx({**{name: wanted[name] for name in found}, "loss": found["loss"]}, rel=1e-4)
    assert len(found) == 7 and found["loss"] == pytest.approx(sum(found[f"{key}_loss"] for key in KEYS))


def test_hdf5_is_refused_where_it_would_lose_the_distillation(network, tmp_path):
    compiled(network)
    for name in ("model.h5", "model.hdf5"):
        with pytest.raises(ValueError, match=r"^`filepath` must end in .keras, .* `distillation`\. Received: .*/model"):
            network.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_loaded_network_says_that_it_is_compiled_without_its_distillation(network, tmp_path):
    compiled(network)
    path = tmp_path / "model.h5"
    keras.saving.save_model(network, path)
    with pytest.warns(UserWarning, match=r"^`distillation` must be given to go on .*EKD\(.*Received: d"):
        keras.saving.load_model(path, custom_objects={"DDNN": DDNN})
