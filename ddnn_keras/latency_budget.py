"""Which depth a device can afford now."""

import collections
import statistics

# A deeper network must fit with this margin before it is used; the one in use may stay until it does not fit at all.
# Between the two, noise does not make the depth flap.
MARGIN = 0.1
# The device's pace is the median over so many runs: one interrupted run does not count, a throttled clock does.
WINDOW = 7
# After a depth that did not hold, a deeper one is tried again after at most so many runs.
LONGEST_PATIENCE = 64 * WINDOW


class LatencyBudget:
    """Chooses the deepest network whose latency fits a budget, as a device slows down and recovers.

    All depths of a network slow down together, more or less, so each run tells of the others too: the median of the
    latest runs, each relative to what its depth took at the start, is the device's pace. Where a deep network slows
    down more than a shallow one, for instance because its weights do not fit a cache any more, the shallow one's pace
    promises too much. So each time that a deeper network did not hold for long, it takes twice as many runs until one
    is tried again.

    What was learned about a budget is forgotten as soon as another is asked for: callers with different budgets need
    one object each.

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
        self._fastest_pace = 1.0
        self._begin(None, None)

    @property
    def pace(self):
        """How much longer a run takes now than at the start, as a factor."""
        return statistics.median(self._paces)

    def observe(self, depth, milliseconds):
        """Takes note of how long a run took."""
        self._paces.append(milliseconds / self.latencies[depth])
        self._fastest_pace = min(self._fastest_pace, self.pace)
        self._runs += 1

    def choose(self, milliseconds):
        """The deepest depth that fits.

        Args:
            milliseconds: The time that one image may take.

        Returns:
            A depth. While the device is too slow for any, the shallowest.

        Raises:
            ValueError: If not even the shallowest would fit at the fastest pace so far.
        """
        self._check(milliseconds)
        if milliseconds != self._budget:
            self._begin(milliseconds, self._fitting(milliseconds))
        elif self._fitting(milliseconds) < self._index:
            # It comes down at once. Whether it had been up for long says how soon to try again.
            held = self._runs >= self._patience
            self._patience = WINDOW if held else min(2 * self._patience, LONGEST_PATIENCE)
            self._step(self._fitting(milliseconds))
        elif self._runs >= self._patience:
            higher = self._fitting(milliseconds / (1 + MARGIN))
            if higher > self._index:
                self._step(higher)
        return list(self.latencies)[self._index]

    def _begin(self, milliseconds, index):
        self._budget, self._patience = milliseconds, WINDOW
        self._step(index)

    def _step(self, index):
        self._index, self._runs = index, 0

    def _fitting(self, milliseconds):
        """The index of the deepest depth that fits, or of the shallowest."""
        fits = [latency * self.pace <= milliseconds for latency in self.latencies.values()]
        return max((index for index, fit in enumerate(fits) if fit), default=0)

    def _check(self, milliseconds):
        shallowest, fastest = min(self.latencies.items(), key=lambda item: item[1])
        fastest *= self._fastest_pace  # the start may have been slow
        if not milliseconds >= fastest:
            raise ValueError(
                f"`budget_ms` must be at least {fastest:.3g}, what depth {shallowest} takes on this device. "
                f"Received: budget_ms={milliseconds!r}"
            )
