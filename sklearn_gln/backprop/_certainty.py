"""A penalty on the entropy of predicted probabilities."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="sklearn_gln")
class Certainty(keras.Regularizer):
    """Penalty on the entropy of predicted probabilities, for the ``activity_regularizer`` of the output layer.

    Adds ``weight`` times the mean of -sum p ln p over the rows of a batch to the loss. A positive weight makes
    predictions more certain, a negative one less certain.

    Parameters
    ----------
    weight : float, default=0.01
        Nats of loss per nat of entropy.

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
        """Sum the weighted entropies of the rows; Keras itself divides activity penalties by the size of the batch."""
        logs = ops.log(ops.maximum(probabilities, keras.config.epsilon()))  # finite even where a softmax underflows
        return -self.weight * ops.sum(probabilities * logs)

    def get_config(self):
        return {"weight": self.weight}
