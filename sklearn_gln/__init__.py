"""Gated Linear Networks for scikit-learn.

How data flow, one file a step::

    GLNClassifier     labels in, probabilities out                            _classifier.py
    GLNRegressor      targets in, means and standard deviations out           _regressor.py
      BaseGLN         parameters and input checked; fit and partial_fit meet  _base.py
        OnlineNetwork rows in, in order: the clock                            _online.py
          BasePredictor   features -> base logits and side information        _base_predictor.py
          learn, infer    layers of gated neurons                             _network.py
            step_block    size and direction of a step                        _learning_rate.py
            kernels       the loops, one file a backend; shared out on threads  kernels/
          Spread          how noisy the target is where a row lies            _spread.py
          Stack           layers weighed by what they predicted honestly      _stack.py
          RegressionStack and how far off they were                           _regression_stack.py
          DriftTest       whether the stream has changed                      _drift.py
        shards            outputs shared out over processes                   _shards.py

What takes fitted estimators, and which nothing above knows of::

    inspection        what a network does, and why                            inspection/
    onnx              graphs that run without Python                          onnx.py
    io                files that execute nothing; streams with checkpoints    io.py
    datasets          MNIST                                                   datasets.py
"""

from sklearn_gln._classifier import GLNClassifier
from sklearn_gln._regressor import GLNRegressor

__version__ = "0.1.0"
__all__ = ["GLNClassifier", "GLNRegressor"]

GLNClassifier.__module__ = GLNRegressor.__module__ = __name__  # what saved models keep, wherever the code moves
