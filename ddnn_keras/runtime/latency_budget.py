"""Which depth a device can afford now. Hysteresis keeps it from changing back and forth."""

import collections
import statistics

# A deeper network is used once it fits with this margin. It stays in use until it does not fit at all.
HYSTERESIS = 0.1
# The device's pace is the median over so many runs. One interrupted run does not change it, a throttled clock does.
WINDOW = 7
# A depth that did not keep the budget is tried again after at most so many runs.
LONGEST_WAIT = 64 * WINDOW


class LatencyBudget:
    """Chooses the deepest network that fits a time budget, as a device slows down and recovers.

    A device slows down all depths by about the same factor, its pace: the median of the latest runs, each relative to
    its depth's time at the start. Hysteresis: a depth in use stays until it does not fit the budget any more. A deeper
    one comes into use only when it fits with a margin of a tenth. A deep network may slow down more than a shallow one,
    for instance if its weights do not fit into a cache any more. Then it falls back soon after each try, and waits
    twice as many runs until the next one. Other depths do not wait for it.

    A change of the budget by more than a tenth is a new budget, and all waits end. So callers with different budgets
    need one object each. `latencies` has each depth's milliseconds at the start, shallowest first.
    """

    def __init__(self, latencies):
        self.latencies = dict(latencies)
        self._paces = collections.deque([1.0] * WINDOW, maxlen=WINDOW)
        self._fastest_pace = 1.0
        self._budget, self._waits, self._runs = 0.0, [], 0  # until a budget is asked for

    @property
    def pace(self):
        """The time of a run now divided by its time at the start."""
        return statistics.median(self._paces)

    @property
    def smallest(self):
        """The smallest budget that has ever been possible, in milliseconds."""
        return min(self.latencies.values()) * self._fastest_pace

    def observe(self, depth, milliseconds):
        """Takes note of a run's time."""
        self._paces.append(milliseconds / self.latencies[depth])
        self._fastest_pace = min(self._fastest_pace, self.pace)
        self._runs += 1
        self._waits = [max(0, wait - 1) for wait in self._waits]

    def choose(self, milliseconds):
        """The deepest depth that fits, or the shallowest while the device is too slow for any."""
        if not milliseconds >= self.smallest:
            shallowest = min(self.latencies, key=self.latencies.get)
            raise ValueError(
                f"`budget_ms` must be at least {self.smallest:.3g}, the time of depth {shallowest} on this device. "
                f"Received: budget_ms={milliseconds!r}"
            )
        same = self._budget / (1 + HYSTERESIS) <= milliseconds <= self._budget * (1 + HYSTERESIS)
        self._budget = milliseconds
        if not same:
            # For each depth: the runs that it waits after it did not fit, and how many of them are left now.
            self._whole_waits, self._waits = [WINDOW] * len(self.latencies), [0] * len(self.latencies)
            self._step(max(self._fitting(milliseconds)))
        elif (fitting := max(self._fitting(milliseconds))) < self._index:
            self._let_wait()
            self._step(fitting)
        elif self._runs >= WINDOW:
            fitting = self._fitting(milliseconds / (1 + HYSTERESIS))
            if deeper := [index for index in fitting if index > self._index and not self._waits[index]]:
                self._step(max(deeper))
        return list(self.latencies)[self._index]

    def _let_wait(self):
        """Lets the depth in use wait: twice as long as the last time if it was in use for a short time only."""
        last = self._whole_waits[self._index]
        wait = WINDOW if self._runs >= last else min(2 * last, LONGEST_WAIT)
        self._whole_waits[self._index] = self._waits[self._index] = wait

    def _step(self, index):
        self._index, self._runs = index, 0

    def _fitting(self, milliseconds):
        """The indices of all depths that fit. The shallowest's if none does."""
        latencies = enumerate(self.latencies.values())
        return [index for index, latency in latencies if latency * self.pace <= milliseconds] or [0]
