"""Which depth a device can afford now."""

import collections
import statistics

# A deeper network must fit with this margin before it is used; the one in use may stay until it does not fit at all.
# Between the two, noise does not make the depth flap.
MARGIN = 0.1
# The device's pace is the median over so many runs: one interrupted run does not count, a throttled clock does.
WINDOW = 7


class LatencyBudget:
    """Chooses the deepest network whose latency fits a budget, as a device slows down and recovers.

    All depths of a network slow down together, so each run tells of the others too: the median of the latest runs, each
    relative to what its depth took at the start, is the device's pace.

    Args:
        latencies: A dict from depths, the shallowest first, to the milliseconds that each took at the start.

    Example:
    >>> budget = LatencyBudget({18: 2.0, 34: 4.0, 50: 6.0})
    >>> budget.choose(5.0)
    34
    >>> for _ in range(7):  # the device became half as fast
    ...     budget.observe(34, 8.0)
    >>> budget.choose(5.0)
    18
    """

    def __init__(self, latencies):
        self.latencies = dict(latencies)
        self._paces = collections.deque([1.0] * WINDOW, maxlen=WINDOW)
        self._depth = None

    @property
    def pace(self):
        """How much longer a run takes now than at the start, as a factor."""
        return statistics.median(self._paces)

    def observe(self, depth, milliseconds):
        """Takes note of how long a run took."""
        self._paces.append(milliseconds / self.latencies[depth])

    def choose(self, milliseconds):
        """The deepest depth that fits.

        Args:
            milliseconds: The time that one image may take.

        Returns:
            A depth. While the device is too slow for any, the shallowest.

        Raises:
                ValueError: If not even the shallowest would fit at the pace of the start, nor at a faster one of now.
        """
        shallowest, fastest = min(self.latencies.items(), key=lambda item: item[1])
        fastest *= min(1.0, self.pace)  # the start may have been slow
        if not milliseconds >= fastest:
            raise ValueError(
                f"`budget_ms` must be at least {fastest:.3g}, what depth {shallowest} takes on this device. "
                f"Received: budget_ms={milliseconds!r}"
            )
        depths = list(self.latencies)
        current = depths.index(self._depth) if self._depth in depths else -1
        fitting = [
            depth
            for index, (depth, latency) in enumerate(self.latencies.items())
            if latency * self.pace * (1 + MARGIN * (index > current >= 0)) <= milliseconds
        ]
        self._depth = fitting[-1] if fitting else depths[0]
        return self._depth
