"""What a fitted network does, and why: exact explanations, layer-wise predictions, pictures.

==========================  ============================================================================
`local_coefficients`        the linear model that the network is at each row, and its contributions
`neuron_predictions`        what every neuron predicts
`summary`                   which contexts rows visit, what weights are like, what is dead or saturated
`SaliencyDisplay`           contributions to the output, as bars or images
`HalfspaceDisplay`          halfspaces and regions of neurons, for two features
`ProgressiveLossDisplay`    loss and accuracy along a stream, by class
`LayerDisplay`              accuracy and calibration of each layer
==========================  ============================================================================

What each layer predicts give the estimators themselves: `GLNClassifier.staged_predict_proba` and
`GLNRegressor.staged_predict`. Displays need matplotlib.
"""

from sklearn_gln.inspection._halfspaces import HalfspaceDisplay
from sklearn_gln.inspection._layers import LayerDisplay, LayerScores
from sklearn_gln.inspection._local import LocalCoefficients, local_coefficients
from sklearn_gln.inspection._neurons import Summary, neuron_predictions, summary
from sklearn_gln.inspection._progressive import ProgressiveLossDisplay
from sklearn_gln.inspection._saliency import SaliencyDisplay

__all__ = [
    "HalfspaceDisplay",
    "LayerDisplay",
    "LayerScores",
    "LocalCoefficients",
    "ProgressiveLossDisplay",
    "SaliencyDisplay",
    "Summary",
    "local_coefficients",
    "neuron_predictions",
    "summary",
]
