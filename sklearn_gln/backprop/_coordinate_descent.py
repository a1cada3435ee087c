"""An optimizer that moves one coordinate of each weight array per step."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="sklearn_gln")
class CoordinateDescent(keras.optimizers.Optimizer):
    """Descent along one coordinate of each weight array, the one with the steepest slope (Gauss-Southwell rule).

    Parameters
    ----------
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule, default=0.1
        Factor by which the slope is multiplied to give the step.

    **kwargs
        Passed to ``keras.optimizers.Optimizer``: `clipnorm`, `weight_decay` and so on.

    Examples
    --------
    >>> import keras
    >>> from sklearn_gln.backprop import CoordinateDescent
    >>> weights = keras.Variable([0.0, 0.0, 0.0])
    >>> CoordinateDescent(0.5).apply([keras.ops.convert_to_tensor([1.0, -4.0, 2.0])], [weights])
    >>> weights.numpy()
    array([0., 2., 0.], dtype=float32)
    """

    def __init__(self, learning_rate=0.1, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        slopes = ops.reshape(gradient, (-1,))
        steepest = ops.one_hot(ops.argmax(ops.abs(slopes)), slopes.shape[0], dtype=slopes.dtype)
        step = ops.cast(learning_rate, slopes.dtype) * slopes * steepest
        self.assign_sub(variable, ops.cast(ops.reshape(step, variable.shape), variable.dtype))
