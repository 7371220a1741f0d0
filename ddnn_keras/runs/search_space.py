"""What a search for hyperparameters chooses from. KerasTuner keeps the choices; this module only names them."""

from ddnn_keras.runs.arguments import ATTENTION_MAPS, TEACHERS

# The ranges lie around the usual values, on a logarithmic scale. Each attention map has its authors' scale of weights.
RANGES = {
    "learning_rate": (0.01, 0.4),
    "temperature": (0.5, 8.0),
    "student_weight": (0.1, 1.0),
    "kl_weight": (0.03, 3.0),
}
CHOICES = {"teacher": list(TEACHERS), "attention": list(ATTENTION_MAPS)}
ATTENTION_WEIGHTS = {"standardized": (0.01, 10.0), "activation": (10.0, 10_000.0)}
SEARCHED = [*RANGES, *CHOICES, "attention_weight"]


def chosen(hp, arguments):
    """The values that a trial uses: chosen where they are searched, otherwise the flags' own."""
    found = {name: vars(arguments)[name] for name in SEARCHED}
    for name in arguments.search:
        if name in RANGES:
            found[name] = hp.Float(name, *RANGES[name], sampling="log")
        elif name in CHOICES:
            found[name] = hp.Choice(name, CHOICES[name])
    if "attention_weight" in arguments.search:
        found["attention_weight"] = attention_weight(hp, found["attention"], "attention" in arguments.search)
    return found


def attention_weight(hp, attention, searched):
    """The weight of an attention map, from that map's range. The first trial must name all ranges."""
    if not searched:
        return hp.Float(f"{attention}_weight", *ATTENTION_WEIGHTS[attention], sampling="log")
    for name, limits in ATTENTION_WEIGHTS.items():
        with hp.conditional_scope("attention", [name]):
            weight = hp.Float(f"{name}_weight", *limits, sampling="log")
            if name == attention:
                found = weight
    return found
