"""Assignment of blocks to splits, so that each split has its share of every class."""

import numpy as np

_PASSES = 20
_CANDIDATES = 2000
"""How often all blocks are visited at most, and how many others a block is tried to swap with."""


def assign(counts: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Assign blocks to splits, so that each split gets its share of the pixels of each class.

    Each class counts the same, however rare it is, and so does the number of all pixels. The costs
    of an assignment are the squared differences between the shares of the pixels that the splits
    have and those that they should have, each divided by the latter, as in a chi-squared test.

    Blocks are visited in random order. First, each one goes to the split that brings the costs
    down most. Then, as long as that lowers the costs, single blocks move to another split, or
    change places with a block of another split. No split stays empty.

    Args:
        counts: pixels of each class in each block, (n, k), of which some are above 0.
        shares: share of all pixels that each split should have, (s,), above 0, with a sum of 1;
            there are n splits at most.
        seed: seed of the order.

    Returns:
        The split of each block, (n,) int64.

    Examples:
        >>> counts = np.array([[8, 0], [8, 0], [0, 2], [0, 2]])
        >>> splits = assign(counts, np.array([0.5, 0.5]), seed=0)
        >>> bool(splits[0] != splits[1]), bool(splits[2] != splits[3])
        (True, True)
    """
    rng = np.random.default_rng(seed)
    amounts = np.column_stack([counts, counts.sum(axis=1)]).astype(np.float64)
    amounts = amounts[:, amounts.any(axis=0)]
    amounts /= amounts.sum(axis=0)
    state = _State(amounts, np.asarray(shares, np.float64))
    for block in rng.permutation(len(amounts)):
        state.place(block)
    for split in range(len(shares)):
        state.fill(split)
    for _ in range(_PASSES):
        is_better = [state.move(block) for block in rng.permutation(len(amounts))]
        for block in rng.permutation(len(amounts)):
            others = np.arange(len(amounts))
            if len(others) > _CANDIDATES:
                others = rng.choice(others, _CANDIDATES, replace=False)
            is_better.append(state.swap(block, others))
        if not any(is_better):
            break
    return state.splits


class _State:
    """An assignment that gets better step by step.

    Args:
        amounts: share of each block in the pixels of each class, (n, k).
        shares: share that each split should have, (s,).
    """

    def __init__(self, amounts: np.ndarray, shares: np.ndarray):
        self.splits = np.full(len(amounts), -1)
        self._amounts, self._shares = amounts, shares
        self._have = np.zeros((len(shares), amounts.shape[1]))

    def place(self, block: int) -> None:
        """Put a block into the split that brings the costs down most."""
        gains = self._costs(self._have) - self._costs(self._have + self._amounts[block])
        self._put(block, int(gains.argmax()))

    def fill(self, split: int) -> None:
        """Give an empty split the block whose move costs least."""
        if (self.splits == split).any():
            return
        sizes = np.bincount(self.splits, minlength=len(self._shares))
        can_go = np.flatnonzero(sizes[self.splits] > 1)
        costs = [self._change(block)[split] for block in can_go.tolist()]
        self._put(can_go.tolist()[int(np.argmin(costs))], split)

    def move(self, block: int) -> bool:
        """Move a block to another split if that lowers the costs; tell whether it does."""
        if (self.splits == self.splits[block]).sum() == 1:
            return False
        change = self._change(block)
        if change.min() > -1e-12:
            return False
        self._put(block, int(change.argmin()))
        return True

    def swap(self, block: int, others: np.ndarray) -> bool:
        """Let a block change places with one of others if that lowers the costs; tell whether."""
        own = self.splits[block]
        others = others[self.splits[others] != own]
        if not len(others):
            return False
        theirs = self.splits[others]
        more = self._amounts[others] - self._amounts[block]
        before = self._costs(self._have)
        after = ((self._have[own] + more - self._shares[own]) ** 2).sum(axis=1) / self._shares[own]
        wanted = self._shares[theirs]
        after += ((self._have[theirs] - more - wanted[:, None]) ** 2).sum(axis=1) / wanted
        change = after - before[own] - before[theirs]
        best = int(change.argmin())
        if change[best] > -1e-12:
            return False
        self._put(block, int(theirs[best]))
        self._put(int(others[best]), int(own))
        return True

    def _change(self, block: int) -> np.ndarray:
        """Compute how the costs change if a block moves, for each split that it may go to, (s,)."""
        own, amount = self.splits[block], self._amounts[block]
        before = self._costs(self._have)
        change = self._costs(self._have + amount) - before
        change += self._costs(self._have - amount)[own] - before[own]
        change[own] = 0
        return change

    def _put(self, block: int, split: int) -> None:
        if self.splits[block] >= 0:
            self._have[self.splits[block]] -= self._amounts[block]
        self.splits[block] = split
        self._have[split] += self._amounts[block]

    def _costs(self, have: np.ndarray) -> np.ndarray:
        """Compute the costs of each split, (s,), that has shares (s, k) of the classes."""
        return ((have - self._shares[:, None]) ** 2).sum(axis=1) / self._shares
