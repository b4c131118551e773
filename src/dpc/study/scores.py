"""Scores out of pairs: Bradley and Terry 1952 by choix, Davidson 1970 (with "not sure") by scipy, and their variance.

    P(a) : P(b) : P(not sure) = e^sa : e^sb : nu e^((sa + sb) / 2)

A table of votes is a float array (N, 5): item a, item b, votes for a, for b, not sure. Every row gets PRIOR votes of
each kind, so that an item that wins always has a finite score. Items that no chain of pairs connects cannot be
compared: `components` tells them apart, and the scores of each component have mean 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["ELO", "PRIOR", "Fit", "bradley_terry", "components", "davidson", "probabilities", "robust"]

Array: TypeAlias = NDArray[np.float64]

ELO = 400 / np.log(10)
"""Elo points of one unit of a score: 400 points are odds of 10 to 1."""
PRIOR = 0.05


@dataclass(frozen=True)
class Fit:
    """scores: (K,). tie: log of nu, -inf without "not sure". covariance: (K + 1, K + 1) of the scores and tie, for
    independent votes."""

    scores: Array
    tie: float
    covariance: Array


def components(table: Array, count: int) -> NDArray[np.intp]:
    """(K,) the number of the component that each item belongs to."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    i, j = table[:, 0].astype(int), table[:, 1].astype(int)
    graph = coo_array((np.ones(len(i)), (i, j)), shape=(count, count))
    labels: NDArray[np.intp] = connected_components(graph, directed=False)[1]
    return labels


def bradley_terry(table: Array, count: int) -> Array:
    """(K,) scores by choix; "not sure" counts as half a vote for each."""
    import choix

    wins = np.zeros((count, count))
    i, j = table[:, 0].astype(int), table[:, 1].astype(int)
    np.add.at(wins, (i, j), table[:, 2] + table[:, 4] / 2 + PRIOR)
    np.add.at(wins, (j, i), table[:, 3] + table[:, 4] / 2 + PRIOR)
    scores = np.zeros(count)
    groups = components(table, count)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        if len(members) > 1:
            found = choix.ilsr_pairwise_dense(wins[np.ix_(members, members)], max_iter=10_000, tol=1e-10)
            scores[members] = found - found.mean()
    return scores


def davidson(table: Array, count: int, ties: bool = True) -> Fit:
    """The maximum of the likelihood; without ties it is that of Bradley and Terry, and the column "not sure" is 0."""
    from scipy.optimize import minimize

    features, weights = _features(table, count), _weights(table, ties)
    centre = np.zeros((count + 1, count + 1))  # keeps the mean of each component, and tie where it has no meaning, at 0
    groups = components(table, count) if len(table) else np.arange(count)
    for group in np.unique(groups):
        member = np.append(groups == group, False).astype(float)
        centre += np.outer(member, member)
    if not ties:
        centre[count, count] += 1

    def value(beta: Array) -> tuple[float, Array]:
        logits = _logits(features, beta, ties)
        largest = logits.max(1, keepdims=True)
        total = largest[:, 0] + np.log(np.exp(logits - largest).sum(1))
        p = np.exp(logits - total[:, None])
        n = weights.sum(1)
        live = np.where(weights > 0, logits, 0)
        loss = (n * total).sum() - (weights * live).sum() + beta @ centre @ beta / 2
        gradient = np.einsum("nk,nkf->f", n[:, None] * p - weights, features) + centre @ beta
        return float(loss), gradient

    def hessian(beta: Array) -> Array:
        return _information(features, beta, weights, ties) + centre

    beta = np.zeros(count + 1)
    if len(table):
        beta = minimize(value, beta, jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-8}).x
    inverse: Array = np.linalg.inv(hessian(beta)).astype(np.float64) if len(table) else np.eye(count + 1)
    return Fit(beta[:count], float(beta[count]) if ties else -np.inf, _project(inverse, groups))


def probabilities(fit: Fit, a: NDArray[np.intp], b: NDArray[np.intp]) -> Array:
    """(N, 3) of the answers a, b, not sure to pairs of items."""
    sa, sb = fit.scores[a], fit.scores[b]
    logits = np.stack([sa, sb, (sa + sb) / 2 + fit.tie], 1)
    e = np.exp(logits - logits.max(1, keepdims=True))
    p: Array = e / e.sum(1, keepdims=True)
    return p


def robust(fit: Fit, table: Array, ties: bool, clusterings: Sequence[NDArray[np.intp]]) -> Array:
    """(K + 1, K + 1) covariance when votes of one cluster depend on each other.

    table: one row for each vote (or for votes of one cluster and pair). clusterings: (N,) numbers of clusters for
    raters, for pictures, or both; none: independent. Sandwich H^-1 M H^-1 with M summed over clusters; for two
    clusterings M = M1 + M2 - M12 (Cameron, Gelbach and Miller 2011), and no smaller than for independent votes.
    """
    count = len(fit.scores)
    if not clusterings:
        return fit.covariance
    features = _features(table, count)
    weights = table[:, 2:5] if ties else table[:, 2:5] * [1, 1, 0]
    p = probabilities(fit, table[:, 0].astype(int), table[:, 1].astype(int))
    contributions = np.einsum("nk,nkf->nf", weights - weights.sum(1, keepdims=True) * p, features)
    if not ties:
        contributions[:, count] = 0

    def meat(labels: NDArray[np.intp]) -> Array:
        _, index = np.unique(labels, return_inverse=True)
        sums = np.zeros((index.max() + 1, count + 1))
        np.add.at(sums, index, contributions)
        found: Array = sums.T @ sums * len(sums) / max(len(sums) - 1, 1)
        return found

    middle = sum((meat(labels) for labels in clusterings), np.zeros((count + 1, count + 1)))
    if len(clusterings) == 2:
        both = np.unique(np.stack(clusterings), axis=1, return_inverse=True)[1].reshape(-1)
        middle = middle - meat(both)
    found = fit.covariance @ middle @ fit.covariance
    # no direction has less variance than independent votes would give it
    values, vectors = np.linalg.eigh(fit.covariance)
    keep = values > 1e-12
    root = vectors[:, keep] * np.sqrt(values[keep])
    back = vectors[:, keep] / np.sqrt(values[keep])
    relative, axes = np.linalg.eigh(back.T @ found @ back)
    whole = root @ axes
    covariance: Array = (whole * np.maximum(relative, 1.0)) @ whole.T
    return covariance


def _features(table: Array, count: int) -> Array:
    """(N, 3, K + 1): what each answer adds up of the parameters."""
    n = np.arange(len(table))
    i, j = table[:, 0].astype(int), table[:, 1].astype(int)
    found = np.zeros((len(table), 3, count + 1))
    found[n, 0, i] = 1
    found[n, 1, j] = 1
    found[n, 2, i] += 0.5
    found[n, 2, j] += 0.5
    found[:, 2, count] = 1
    return found


def _weights(table: Array, ties: bool) -> Array:
    found: Array = (table[:, 2:5] + PRIOR) * ([1, 1, 1] if ties else [1, 1, 0])
    return found


def _logits(features: Array, beta: Array, ties: bool) -> Array:
    logits: Array = features @ beta
    if not ties:
        logits[:, 2] = -np.inf
    return logits


def _information(features: Array, beta: Array, weights: Array, ties: bool) -> Array:
    logits = _logits(features, beta, ties)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    n = weights.sum(1)
    mean = np.einsum("nk,nkf->nf", p, features)
    second = np.einsum("n,nk,nkf,nkg->fg", n, p, features, features, optimize=True)
    found: Array = second - np.einsum("n,nf,ng->fg", n, mean, mean)
    return found


def _project(inverse: Array, groups: NDArray[Any]) -> Array:
    """Without the variance of the means, which are 0 by definition."""
    count = len(groups)
    same = groups[:, None] == groups[None, :]
    centring = np.eye(count + 1)
    centring[:count, :count] -= same / same.sum(1, keepdims=True)
    found: Array = centring @ inverse @ centring.T
    return found
