"""Gated Linear Networks for scikit-learn.

How data flow, one file a step::

    GLNClassifier        labels in, probabilities out                             _classifier.py
    GLNRegressor         targets in, means, deviations and quantiles out          _regressor.py
      BaseGLN            parameters and input checked; fit and partial_fit meet   _base.py, _input.py
        levels           which columns are categories, their levels as numbers    _levels.py
        OnlineNetwork    samples in, in order                                     _online.py
          Schedule       the clock: what happens after which sample               _schedule.py
          SparseRows     SciPy's matrices, of which a chunk is made dense         _sparse_rows.py
          Evidence       what is known of single columns, met and then learned    _evidence.py
            Categories   what earlier samples of a level were; indicators         _categories.py
            WideRows     linear models over the columns of words and clicks       _wide_rows.py
          BasePredictor  features -> base logits, basis and side information      _base_predictor.py
          Window         the last samples, by which wild values are known         _window.py
          halfspaces     where neurons cut, drawn from the first samples          _halfspaces.py
          Network        layers of gated neurons: learn, infer                    _network.py, _layer.py
            Likelihood   what neurons predict, and how they learn it              _likelihood.py
            StepInputs   size and direction of a step                             _learning_rate.py
            Spread       how noisy the target is where a sample lies              _spread.py
            kernels      the loops, one file a backend; shared out on threads     kernels/
          single row     all of this in few compiled calls, one row a call        _single_row.py
          Head           layers -> the answer                                     _head.py
            stacks       layers weighed by what they predicted honestly           _stack.py
            TargetScale  the unit of a real target                                _target_scale.py
            Calibration  variances and quantiles that hold what they promise      _calibration.py
            RecentErrors what the last errors say of the next one                 _recent.py, _recent_errors.py
            RecentLabels what the last labels say of the next one                 _recent_labels.py
        shards           outputs shared out over processes                        _shards.py
        outputs          some of a network's outputs as one of their own          _outputs.py

What they hand to one another: Settings (_settings.py), Samples (_samples.py). Around them: learned state as plain data,
and its checks (_state.py); threads, interrupts and workers (_runtime.py); what scikit-learn keeps private (_compat.py).

What takes fitted estimators, and which nothing above knows of::

    bandit               actions chosen, and learned from their rewards           bandit/
    inspection           what a network does, and why                             inspection/
    onnx                 graphs that run without Python                           onnx.py
    io                   files that execute nothing; streams with checkpoints     io.py
    datasets             MNIST                                                    datasets.py
    backprop             networks to compare with, for Keras                      backprop/
"""

from sklearn_gln._classifier import GLNClassifier
from sklearn_gln._regressor import GLNRegressor

__version__ = "0.2.0"
__all__ = ["GLNClassifier", "GLNRegressor"]

GLNClassifier.__module__ = GLNRegressor.__module__ = __name__  # what saved models keep, wherever the code moves
