"""Whether a data set is still what a run was trained on: else what is held out now may have been learned."""


def data_facts(images):
    """What a run keeps of its images, at no cost: a dict."""
    return {
        "class_names": images.class_names,
        "image_shape": list(images.image_shape),
        "num_images": {"train": images.num_train, "validation": images.num_validation, "test": images.num_test},
    }


def check_run(run_directory, images):
    """Raises a `ValueError` if a run was trained on other images than these, as far as its configuration says.

    Where images were added, others are held out for validation and test, so that the run has seen some of them.
    """
    config = run_directory.read_config()
    for name, value in data_facts(images).items():
        if config.get(name, value) != value:
            raise ValueError(
                f"{run_directory.path} was trained on images whose {name} was {config[name]}. Now it is {value}."
            )
