"""The reward model of a bandit: an estimator with an output for each action, and a spare one.

A row has the target of the action that was taken, and gaps elsewhere. The spare output, the last, never has any: it is
what each action to come has learned, which is nothing, and is copied when one comes.
"""

import numpy as np
from scipy.special import expit
from sklearn.base import clone

from sklearn_gln._classifier import GLNClassifier
from sklearn_gln._regressor import GLNRegressor
from sklearn_gln._runtime import entered, interrupts_held

OF_KIND = {GLNClassifier: "rewards of 0 and 1", GLNRegressor: "real rewards"}


def new_model(given, random_state):
    """An unfitted reward model with the parameters of the one given, or the default one; it counts visits."""
    if given is None:
        model = GLNClassifier()
    elif type(given) in OF_KIND:
        model = clone(given)
    else:
        wanted = ", ".join(f"a {kind.__name__} for {rewards}" for kind, rewards in OF_KIND.items())
        raise TypeError(f"reward_model must be {wanted}; got {given!r:.200}.")
    if not model.share_halfspaces:
        raise ValueError(
            "reward_model has share_halfspaces=False, and then an action's halfspaces would depend on when it comes. "
            f"Use {type(model).__name__}(share_halfspaces=True)."
        )
    if random_state is not None:
        model.set_params(random_state=random_state)
    model._is_of_bandit = True
    return model


def targets(columns, rewards, n_actions):
    """The matrix (n, n_actions + 1) of the rewards (n,) of actions taken, in their columns (n,)."""
    matrix = np.full((len(columns), n_actions + 1), np.nan)
    matrix[np.arange(len(columns)), columns] = rewards
    return matrix


@entered()
def expectations(model, X, check_input):
    """Means, deviations and pseudo-counts (n, n_actions) of rewards of rows X; a deviation may be infinite.

    A pseudo-count is the mean number of visits, over the neurons, of the contexts that gate the row.
    """
    X, online = model._check_X(X, check_input), model._online
    n_actions = online.n_outputs - 1
    answers, counts = [online.before_sample_1(0)], [np.zeros((0, n_actions))]
    with model._kernels(len(X)) as kernels, kernels.scope(model.device):
        for indices, _, outputs in online.forward(X, kernels):
            if outputs is None:
                answers.append(online.before_sample_1(len(indices)))
                counts.append(np.zeros((len(indices), n_actions)))
                continue
            answers.append(online.head.predict(online.head.gather(outputs, kernels)[: len(indices)]))
            layers = list(zip(online.network.layers, outputs.contexts, strict=True))
            gated = layers[online.settings.likelihood.has_linear_first and len(layers) > 1 :]
            visits = [kernels.to_numpy(kernels.at_slots(layer.visits, layer.slots(each))) for layer, each in gated]
            counts.append(np.concatenate(visits, axis=2).mean(axis=2)[: len(indices), :-1])
    answer, counts = np.concatenate(answers)[:, :-1], np.concatenate(counts)
    if isinstance(model, GLNClassifier):
        return expit(answer), np.sqrt(expit(answer) * expit(-answer)), counts
    return answer[..., 0], np.sqrt(answer[..., 1]), counts


def add_outputs(model, n_added):
    """Have the model learn more actions; they have learned what the spare output has."""
    online = model._online
    places = np.minimum(np.arange(online.n_outputs + n_added), online.n_outputs - 1)
    grown = online.of_outputs(places, online.head.of_outputs(places))
    changed = {"_online": grown}
    if isinstance(model, GLNClassifier):
        changed |= {
            "classes_": np.arange(len(places)),
            "_has_come": np.ones(len(places), bool),
            "_class_counts": model._class_counts[places],
        }
    else:
        changed |= {"n_outputs_": len(places), "_progress": model._progress[:, places]}
    with interrupts_held():
        vars(model).update(changed)
