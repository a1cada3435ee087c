"""What the last labels say of the next one; hypotheses and their evidence are those of `_recent`.

With p_k the probability that was predicted for class k of K, hypothesis 0 is that p is right. It begins with nine times
the weight of each other one: that p are all too bold, or too timid, and, for each memory of h samples, that each class
is as frequent as it was lately, against what was predicted:

    p_k^a / sum over classes,        a = 1/4, 1/2, 3/4 or 3/2
    p_k r_k / sum over classes,      r_k = (1 / (2 K) + sum of d [the class was k]) / (1 / (2 K) + sum of d p_k)

with d = 2^(-age / h). What the log-likelihood was for a sample counts half after 100 samples. The answer is the
hypotheses' geometric mixture: logits are multiplied by a factor and moved by an offset. Weights of samples count in
proportion to the largest so far. A label that applies or not is one of two classes, by itself.
"""

from dataclasses import dataclass, field, replace
from types import ModuleType

import numpy as np

from sklearn_gln._arrays import BY_OUTPUT, Array
from sklearn_gln._recent import MAX_LOSS, discounted, evidence_after, kept, learn_known

MEMORIES = kept(4, 32)
OF_EVIDENCE = kept(100)
AS_PREDICTED = 0.5  # samples with classes as frequent as predicted
EXPONENTS = np.array([1.0, 0.25, 0.5, 0.75, 1.5])
FACTORS = np.append(EXPONENTS, np.ones(len(MEMORIES)))  # of the hypotheses' logits
HEAD_START = np.log([9.0] + [1.0] * (len(FACTORS) - 1))
UNCORRECTED = 1.0, 0.0  # factor, offset
SIGNS = np.array([1.0, -1.0])


@dataclass
class RecentLabels:
    """Of labels, each of 2 classes, or of samples that are each of one of n_classes: of one label, as it were."""

    sums: Array = field(metadata=BY_OUTPUT)  # (n_labels, n_memories, 2, n_classes): discounted, of [class is k] and p_k
    evidence: Array = field(metadata=BY_OUTPUT)  # (n_labels, n_hypotheses)
    max_weight: Array = field(metadata=BY_OUTPUT)  # (n_labels,): of a sample so far
    correction: Array = field(metadata=BY_OUTPUT)  # (n_logits, 2): of the next sample, kept for its many predictions
    stopped: bool  # nothing is corrected: the order of samples means nothing

    @classmethod
    def empty(cls, n_labels: int, n_classes: int, *, stopped: bool) -> "RecentLabels":
        sums, evidence = np.zeros((n_labels, len(MEMORIES), 2, n_classes)), np.zeros((n_labels, len(FACTORS)))
        recent = cls(sums, evidence, np.zeros(n_labels), np.empty((0, 2)), stopped)
        recent._correct()
        return recent

    @property
    def factor(self) -> Array:
        """That of each label's logits, or of all classes': (n_labels,)."""
        return self.correction[: len(self.sums), 0]

    def learn(self, logits: Array, codes: Array, weights: Array, rows: ModuleType | None = None) -> Array:
        """Take in samples in order: the logits (n, n_logits) that were predicted, and numbers of classes (n, n_labels).

        A label of weight 0 is not known, and no memory takes notice of it; weights are (n, n_labels). With kernels'
        functions of a single row it is one sample of weight 1, of which all is known. Returns the corrections before
        each sample and after the last: (n + 1, n_logits, 2).
        """
        if self.stopped:
            return np.broadcast_to(self.correction, (len(logits) + 1, *self.correction.shape))
        if rows is None:
            return learn_known(self, (self._log_probabilities(logits), codes, weights), weights > 0)
        before, prior = self.correction, AS_PREDICTED / self.sums.shape[3]
        self.sums, self.evidence, self.max_weight, self.correction = rows.recent_labels(
            logits[0], codes[0], self.sums, self.evidence, self.max_weight,
            EXPONENTS, HEAD_START, MEMORIES, OF_EVIDENCE, prior, MAX_LOSS,
        )  # fmt: skip
        return np.stack([before, self.correction])

    def learn_all(self, log_p: Array, codes: Array, weights: Array) -> Array:
        largest = np.maximum.accumulate(np.concatenate([self.max_weight[np.newaxis], weights]))
        weights, self.max_weight = (weights / largest[1:])[..., np.newaxis], largest[-1]
        values = np.empty((*codes.shape, 1, 2, log_p.shape[2]))
        happened, predicted = values[:, :, :, 0], values[:, :, :, 1]
        log_p = log_p[:, :, np.newaxis]
        happened[...], predicted[...] = codes[..., np.newaxis, np.newaxis] == np.arange(log_p.shape[3]), np.exp(log_p)
        sums = discounted(weights[..., np.newaxis, np.newaxis] * values, self.sums, MEMORIES)
        log_ratios = _log_ratios(sums)
        scores = np.concatenate([EXPONENTS[:, np.newaxis] * log_p, log_p + log_ratios[:-1]], axis=2)
        # Scores are of a size that allows exp.
        log_likelihood = np.vecdot(scores, happened) - np.log(np.exp(scores).sum(axis=3))
        evidence = evidence_after(log_likelihood, weights, self.evidence, OF_EVIDENCE)
        corrections = _mixture(log_ratios, evidence)
        self.sums, self.evidence, self.correction = sums[-1], evidence[-1], corrections[-1]
        return corrections

    def with_class(self, number: int) -> "RecentLabels":
        """The same where one class more, which has not come yet, has this number from now on."""
        added = replace(self, sums=np.insert(self.sums, number, 0.0, axis=3))
        added._correct()
        return added

    def stop(self) -> None:
        """Correct nothing from now on: the order of samples means nothing."""
        self.stopped = True
        self._correct()

    def _correct(self) -> None:
        """Set the correction, which follows from all else."""
        mixture = _mixture(_log_ratios(self.sums), self.evidence)
        self.correction = np.tile(UNCORRECTED, (len(mixture), 1)) if self.stopped else mixture

    def _log_probabilities(self, logits: Array) -> Array:
        """Of classes (n, n_labels, n_classes)."""
        if self.sums.shape[3] == 2:
            log_p: Array = -np.logaddexp(0, logits[..., np.newaxis] * SIGNS)
        else:
            logits = logits - logits.max(axis=1, keepdims=True)
            log_p = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))[:, np.newaxis]
        return log_p


def corrected(logits: Array, correction: Array) -> Array:
    """Logits (n, n_logits), after corrections (n | 1, n_logits, 2): factor, offset."""
    return logits * correction[..., 0] + correction[..., 1]


def _log_ratios(sums: Array) -> Array:
    """ln r (..., n_memories, n_classes), of sums (..., n_memories, 2, n_classes)."""
    logs = np.log(AS_PREDICTED / max(sums.shape[-1], 1) + sums)  # before the first class comes there is none
    return logs[..., 0, :] - logs[..., 1, :]


def _mixture(log_ratios: Array, evidence: Array) -> Array:
    """Corrections (..., n_logits, 2)."""
    weights = np.exp(HEAD_START + evidence)
    weights /= weights.sum(axis=-1, keepdims=True)
    offsets = (weights[..., np.newaxis, len(EXPONENTS) :] @ log_ratios)[..., 0, :]
    offset = offsets[..., 1] - offsets[..., 0] if offsets.shape[-1] == 2 else offsets[..., 0, :]
    mixture = np.empty((*offset.shape, 2))
    mixture[..., 0], mixture[..., 1] = weights @ FACTORS, offset
    return mixture
