"""A penalty on the entropy of predicted probabilities."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="sklearn_gln")
class Certainty(keras.Regularizer):
    """Penalty on the entropy of predicted probabilities, as ``activity_regularizer`` of the layer that gives them.

    Adds ``weight`` times the mean of -sum p ln p over the rows of a batch to the loss. A positive weight makes
    predictions more certain, a negative one less.

    Parameters
    ----------
    weight : float, default=0.01
        In nats of the loss per nat of entropy.

    Examples
    --------
    >>> import keras
    >>> from sklearn_gln.backprop import Certainty
    >>> output = keras.layers.Dense(10, activation="softmax", activity_regularizer=Certainty(0.1))
    >>> f"{float(Certainty(1.0)(keras.ops.full((1, 2), 0.5))):.4f}"
    '0.6931'
    """

    def __init__(self, weight=0.01):
        if not np.isfinite(weight):
            raise ValueError(f"weight={weight!r} is not a finite number; try 0.01")
        self.weight = float(weight)

    def __call__(self, probabilities):
        """The weighted sum over rows: Keras itself divides what an activity costs by the rows of the batch."""
        logs = ops.log(ops.maximum(probabilities, keras.config.epsilon()))  # finite where a softmax underflows
        return -self.weight * ops.sum(probabilities * logs)

    def get_config(self):
        return {"weight": self.weight}
