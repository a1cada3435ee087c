"""Exact explanations, layer-wise predictions and pictures of a fitted network.

==========================  ============================================================================
`local_coefficients`        the linear model that the network is at each row, and its contributions
`global_contributions`      importances of features: what they contribute on average, without their sign
`neuron_predictions`        the predictions of every neuron
`summary`                   which contexts rows visit, what weights are like, what is dead or saturated
`SaliencyDisplay`           contributions to the output, as bars or images
`ImportanceDisplay`         importances as bars
`HalfspaceDisplay`          halfspaces and regions of neurons, for two features
`ProgressiveLossDisplay`    loss and accuracy along a stream, by class
`LayerDisplay`              accuracy and calibration of each layer
==========================  ============================================================================

The predictions of each layer come from the estimators themselves: `GLNClassifier.staged_predict_proba` and
`GLNRegressor.staged_predict`. Displays need matplotlib. All take a GLNClassifier or GLNRegressor; of a Pipeline, pass
its last step and transformed samples: ``local_coefficients(pipeline[-1], pipeline[:-1].transform(X))``.
"""

from sklearn_gln.inspection._halfspaces import HalfspaceDisplay
from sklearn_gln.inspection._importance import ImportanceDisplay, global_contributions
from sklearn_gln.inspection._layers import LayerDisplay, LayerScores
from sklearn_gln.inspection._local import LocalCoefficients, local_coefficients
from sklearn_gln.inspection._neurons import Summary, neuron_predictions, summary
from sklearn_gln.inspection._progressive import ProgressiveLossDisplay
from sklearn_gln.inspection._saliency import SaliencyDisplay

__all__ = [
    "HalfspaceDisplay",
    "ImportanceDisplay",
    "LayerDisplay",
    "LayerScores",
    "LocalCoefficients",
    "ProgressiveLossDisplay",
    "SaliencyDisplay",
    "Summary",
    "global_contributions",
    "local_coefficients",
    "neuron_predictions",
    "summary",
]
