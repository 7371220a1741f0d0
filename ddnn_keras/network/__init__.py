"""The graph of a network: how it is built, walked over, changed and counted."""
