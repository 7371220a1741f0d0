"""The one way in which the scripts of this folder write a table in Markdown."""


def markdown_table(headers, rows):
    """A table in Markdown, without a line break at its end."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [headers, ["---"] * len(headers), *rows])
