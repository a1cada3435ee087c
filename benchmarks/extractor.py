"""A convolutional network as a transformer of scikit-learn: trained by backpropagation once, then frozen, a GLN on top.

It learns old classes; a GLN learns new ones from its features, online, and forgets none of what the network knows::

    extractor = ConvExtractor().fit(X_old, y_old)  # square images, rows of pixels in [0, 1], and their labels
    model = make_pipeline(FrozenEstimator(extractor), GLNClassifier(max_iter=1)).fit(X_new, y_new)  # one pass

A Pipeline has no partial_fit, so a stream passes the two one after the other::

    gln = GLNClassifier()
    for X_chunk, y_chunk in stream:
        gln.partial_fit(extractor.transform(X_chunk), y_chunk, classes=new_classes)
    gln.predict_proba(extractor.transform(X_test))

`benchmarks/features.py extractor` measures it. Needs PyTorch: ``pip install torch``.
"""

from math import isqrt

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from torch import nn


class ConvExtractor(TransformerMixin, BaseEstimator):
    """Features of square images (n, side * side): the last layer but one of a small convolutional network."""

    def __init__(self, epochs=2, batch_size=64, learning_rate=1e-3, random_state=0):
        self.epochs = epochs  # 0: the network as it is drawn, untrained
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X, y):
        torch.manual_seed(self.random_state)
        classes, targets = np.unique(y, return_inverse=True)
        X, targets, side = _images(X), torch.as_tensor(targets), isqrt(X.shape[1])
        self.layers_ = nn.Sequential(
            nn.Unflatten(1, (1, side, side)), *_block(1, 16), *_block(16, 32), *_block(32, 64), nn.Flatten()
        )
        network = nn.Sequential(self.layers_, nn.Linear(self.layers_(X[:1]).shape[1], len(classes)))
        optimizer = torch.optim.Adam(network.parameters(), self.learning_rate)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(X)).split(self.batch_size):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(X[rows]), targets[rows]).backward()
                optimizer.step()
        return self

    @torch.no_grad()
    def transform(self, X):
        return torch.cat([self.layers_(rows) for rows in _images(X).split(1024)]).numpy()


def _block(n_in, n_out):
    return nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)


def _images(X):
    return torch.as_tensor(X, dtype=torch.float32)
