"""The one way in which the scripts of this folder write a table in Markdown."""


def markdown_table(headers, rows):
    """A table in Markdown, without a line break at its end.

    Example:
    >>> print(markdown_table(["depth", "accuracy"], [["8", "80.00"]]))
    | depth | accuracy |
    | --- | --- |
    | 8 | 80.00 |
    """
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [headers, ["---"] * len(headers), *rows])
