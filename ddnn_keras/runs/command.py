"""A recipe: a command line that trains. Keras is imported after the flags are read, because that takes seconds."""

from ddnn_keras.command_line import run
from ddnn_keras.runs.arguments import argument_parser


def command(description, **defaults):
    """Runs the command line of a recipe with its own defaults, such as `epochs=200`."""
    parser = argument_parser(description, **defaults)

    def main(arguments):
        from ddnn_keras.runs import trainer

        trainer.main(arguments, parser)

    run(main, parser)
