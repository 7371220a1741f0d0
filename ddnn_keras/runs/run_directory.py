"""The folder of a training: the names of its files, how they are read and written."""

import csv
import datetime
import json
import pathlib
import re
import shutil

from ddnn_keras.atomic_write import atomic_write


class RunDirectory:
    """The folder of one training run, which need not exist yet. `recipes/README.md` says what its files hold."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.model = self.path / "model.keras"
        self.config = self.path / "config.json"
        self.history = self.path / "history.csv"
        self.metrics = self.path / "metrics.json"
        self.curves = self.path / "curves.png"
        self.best = self.path / "best.keras"
        self.confusion = self.path / "confusion.png"
        self.tensorboard = self.path / "tensorboard"

    @property
    def teacher(self):
        """The run, within this one, of a full-net that was trained first, to teach."""
        return RunDirectory(self.path / "teacher")

    @classmethod
    def newest(cls, root="runs", holding="model", suitable=lambda run: True):
        """The suitable run in `root` whose `holding`, one of the files above, changed last."""
        runs = [run for run in map(cls, pathlib.Path(root).glob("*/")) if run.config.is_file()]
        runs = [run for run in runs if getattr(run, holding).is_file() and suitable(run)]
        if not runs:
            raise FileNotFoundError(f"No run with a {holding} file in {root!s}: recipes/finetune.py makes one.")
        return max(runs, key=lambda run: getattr(run, holding).stat().st_mtime_ns)

    def read_config(self):
        """The content of `config.json`."""
        if not self.config.is_file():
            raise FileNotFoundError(f"{self.path} holds no run: there is no {self.config.name} in it.")
        try:
            config = json.loads(self.config.read_text())
            return {**config, "arguments": dict(config["arguments"])}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.config} is damaged: {error}.") from None

    @property
    def files(self):
        """What `unused` looks for and `tidy` cleans up behind."""
        return [self.model, self.best, self.config, self.history, self.metrics, self.curves, self.confusion]

    def read_history(self):
        """The rows of `history.csv`: a list of dicts of floats, empty before the first epoch ends."""
        if not self.history.is_file():
            return []
        with open(self.history, newline="") as file:
            rows = list(csv.DictReader(file))
        # Keras writes NA where an epoch was not validated.
        return [{name: float("nan" if value == "NA" else value) for name, value in row.items()} for row in rows]

    def tidy(self, finished_epochs):
        """Removes what a killed run left half done: the row of an epoch that was not saved, and temporary folders."""
        for file in self.files:
            for folder in self.path.glob(f".{file.name}.*"):
                shutil.rmtree(folder)
        if self.history.is_file():
            lines = self.history.read_bytes().splitlines(keepends=True)
            with atomic_write(self.history) as temporary:
                temporary.write_bytes(b"".join(lines[: finished_epochs + 1]))


def new_output(*words):
    """A run directory that names what is trained, and when."""
    # To the microsecond: a shell can begin several trainings in one second.
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    return "runs/" + "_".join([*(re.sub(r"[^A-Za-z0-9_]+", "-", word) for word in words), now])


def data_facts(images):
    """What a run keeps of its images, at no cost: a dict."""
    return {
        "class_names": images.class_names,
        "image_shape": list(images.image_shape),
        "num_images": {"train": images.num_train, "validation": images.num_validation, "test": images.num_test},
        "stratified": images.stratified,
        "checksum": images.checksum,
    }


def check_run(run_directory, images):
    """Raises a `ValueError` if a run was trained on other images than these: it would know some that are held out."""
    check_facts(run_directory, data_facts(images))


def check_facts(run_directory, facts):
    """Raises a `ValueError` if a run's images were not described by these facts."""
    # Before runs recorded it, no image was held out by class. Earlier runs have no checksum.
    config = {**facts, "stratified": False, **run_directory.read_config()}
    for name, value in facts.items():
        if config[name] != value:
            raise ValueError(
                f"{run_directory.path} was trained on images whose {name} was {config[name]}. Now it is {value}: "
                "put back what was added, removed or renamed, or train a new run."
            )
