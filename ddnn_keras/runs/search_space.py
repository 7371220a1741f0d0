"""What a search for hyperparameters chooses from. KerasTuner keeps the choices; this module only names them."""

from ddnn_keras.runs.arguments import TEACHERS

# The ranges lie around the usual values, on a logarithmic scale. Each attention map has its authors' scale of weights.
RANGES = {
    "learning_rate": (0.01, 0.4),
    "temperature": (0.5, 8.0),
    "student_weight": (0.1, 1.0),
    "kl_weight": (0.03, 3.0),
}
ATTENTION_WEIGHTS = {"standardized": (0.01, 10.0), "activation": (10.0, 10_000.0)}
SEARCHED = [*RANGES, "teacher", "attention_weight"]


def chosen(hp, arguments):
    """The values that a trial uses: chosen where they are searched, otherwise the flags' own."""
    found = {name: vars(arguments)[name] for name in SEARCHED}
    for name in arguments.search:
        if name == "teacher":
            found[name] = hp.Choice(name, list(TEACHERS))
        elif name == "attention_weight":
            limits = ATTENTION_WEIGHTS[arguments.attention]
            found[name] = hp.Float(f"{arguments.attention}_weight", *limits, sampling="log")
        else:
            found[name] = hp.Float(name, *RANGES[name], sampling="log")
    return found
