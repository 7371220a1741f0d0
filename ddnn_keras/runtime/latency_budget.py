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
    promises too much. So each time that a depth did not hold for long, it takes twice as many runs until that one is
    tried again; the depths before it are not held back.

    A budget may move by a tenth from call to call, such as the time that is left in a frame. What was learned about it
    is forgotten as soon as quite another one is asked for: callers with different budgets need one object each.

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
        self._budget, self._waits, self._runs = 0.0, [], 0  # until a budget is asked for

    @property
    def pace(self):
        """How much longer a run takes now than at the start, as a factor."""
        return statistics.median(self._paces)

    @property
    def smallest(self):
        """The smallest budget that has ever been possible, in milliseconds."""
        return min(self.latencies.values()) * self._fastest_pace  # the start may have been slow

    def observe(self, depth, milliseconds):
        """Takes note of how long a run took."""
        self._paces.append(milliseconds / self.latencies[depth])
        self._fastest_pace = min(self._fastest_pace, self.pace)
        self._runs += 1
        self._waits = [max(0, wait - 1) for wait in self._waits]

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
        same = self._budget / (1 + MARGIN) <= milliseconds <= self._budget * (1 + MARGIN)
        self._budget = milliseconds
        if not same:
            self._begin(milliseconds)
        elif (fitting := max(self._fitting(milliseconds))) < self._index:
            self._hold_back()
            self._step(fitting)
        elif self._runs >= WINDOW:
            fitting = self._fitting(milliseconds / (1 + MARGIN))
            if deeper := [index for index in fitting if index > self._index and not self._waits[index]]:
                self._step(max(deeper))
        return list(self.latencies)[self._index]

    def _begin(self, milliseconds):
        # Of each depth: after how many runs without it, it is tried again, and how many of them are left.
        self._patience = [WINDOW] * len(self.latencies)
        self._waits = [0] * len(self.latencies)
        self._step(max(self._fitting(milliseconds)))

    def _hold_back(self):
        """Lets the depth in use wait. Whether it had been up for long says how long."""
        patience = self._patience[self._index]
        patience = WINDOW if self._runs >= patience else min(2 * patience, LONGEST_PATIENCE)
        self._patience[self._index] = self._waits[self._index] = patience

    def _step(self, index):
        self._index, self._runs = index, 0

    def _fitting(self, milliseconds):
        """The indices of all depths that fit, or that of the shallowest."""
        latencies = enumerate(self.latencies.values())
        return [index for index, latency in latencies if latency * self.pace <= milliseconds] or [0]

    def _check(self, milliseconds):
        if not milliseconds >= self.smallest:
            shallowest = min(self.latencies, key=self.latencies.get)
            raise ValueError(
                f"`budget_ms` must be at least {self.smallest:.3g}, what depth {shallowest} takes on this device. "
                f"Received: budget_ms={milliseconds!r}"
            )
