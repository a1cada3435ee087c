"""Gated Linear Networks for scikit-learn.

How data flow, one file a step::

    GLNClassifier     labels in, probabilities out                            _classifier.py
      BaseGLN         parameters and input checked; fit and partial_fit meet  _base.py
        OnlineNetwork rows in, in order: the clock                            _online.py
          BasePredictor   features -> base logits and side information        _base_predictor.py
          learn, infer    layers of gated neurons                             _network.py
            step_block    size and direction of a step                        _learning_rate.py
            kernels       the loops, one file a backend; shared out on threads  kernels/
          Stack           layers weighed by what they predicted honestly      _stack.py
          DriftTest       whether the stream has changed                      _drift.py
"""

from sklearn_gln._classifier import GLNClassifier

__version__ = "0.1.0"
__all__ = ["GLNClassifier"]

GLNClassifier.__module__ = __name__  # the name that saved models keep, wherever the code moves
