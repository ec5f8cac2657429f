"""The space that the search for variance parameters moves in: coordinates, boundaries, square roots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from alliance_stats.mixed.engine.model import Model
from alliance_stats.tables.arrays import FloatArray, IntArray

_RHO_LIMIT = 1 - 1e-9


@dataclass(frozen=True)
class SearchSpace:
    """Search coordinates x: the covariances themselves, rho by its Fisher transform (AR(1)) or its logit (CAR(1))."""

    residual: list[int]  # The positions of the residual's parameters
    positive: bool  # Whether rho is positive (CAR(1))
    blocks: list[IntArray]  # For every block of effects the positions of its covariances
    scalars: IntArray  # The positions of blocks of one effect

    @property
    def lowest(self) -> float:
        """The lowest coordinate of rho; a correlation of 1e-6 (CAR(1)) counts as none."""
        return -14.0 if self.positive else -12.0

    def to_search(self, theta: FloatArray) -> FloatArray:
        """From parameters to search coordinates."""
        x = theta.copy()
        for k in self.residual:
            rho = min(max(float(theta[k]), 1e-9 if self.positive else -_RHO_LIMIT), _RHO_LIMIT)
            x[k] = math.log(rho / (1 - rho)) if self.positive else math.atanh(rho)
        return x

    def to_theta(self, x: FloatArray) -> FloatArray:
        """And back."""
        theta = x.copy()
        for k in self.residual:
            z = min(max(float(x[k]), -30.0), 30.0)
            theta[k] = 1 / (1 + math.exp(-z)) if self.positive else min(max(math.tanh(z), -_RHO_LIMIT), _RHO_LIMIT)
        return theta

    def slope(self, theta: FloatArray) -> FloatArray:
        """The derivative of each parameter by its search coordinate."""
        slope = np.ones(len(theta))
        for k in self.residual:
            rho = float(theta[k])
            slope[k] = max(rho * (1 - rho) if self.positive else 1 - rho**2, 1e-300)
        return slope

    def room(self, x: FloatArray, step: FloatArray) -> float:
        """The share of a step after which every covariance block of two or more effects is still positive definite."""
        room = 1.0
        for indices in self.blocks:
            if len(indices) > 1:
                here, ahead = x[indices], step[indices]
                try:
                    half = np.linalg.inv(np.linalg.cholesky(here))
                except np.linalg.LinAlgError:
                    return 0.0
                lowest = float(np.linalg.eigvalsh(half @ ahead @ half.T)[0])
                if lowest < -0.95:
                    room = min(room, -0.8 / lowest)
        return room

    def root_map(
        self, roots: list[FloatArray], gradient: FloatArray, *, held: bool, positive: bool
    ) -> tuple[FloatArray, FloatArray]:
        """The derivative of x by (L's elements, residual parameters), and <gradient, d2 D> or its positive part.

        D = L L' has dD = dL L' + L dL' and d2 D = 2 dL dL', so that <G, d2 D> = 2 tr(dL' G dL): a block 2 G x I. `held`
        says that the residual parameter is at the end of its range.
        """
        sizes = [root.size for root in roots]
        width = sum(sizes) + len(self.residual)
        jacobian, bend = np.zeros((len(gradient), width)), np.zeros((width, width))
        at = 0
        for root, indices in zip(roots, self.blocks):
            q = len(root)
            for i in range(q):
                for c in range(q):
                    for j in range(q):
                        jacobian[indices[i, j], at + i * q + c] += root[j, c] * (2.0 if i == j else 1.0)
            matrix = gradient_matrix(gradient, indices)
            values, vectors = np.linalg.eigh(matrix)
            part = (vectors * (np.maximum(values, 0) if positive else values)) @ vectors.T
            bend[at : at + q * q, at : at + q * q] = 2 * np.kron(part, np.eye(q))
            at += q * q
        for place, number in enumerate(self.residual):
            jacobian[number, at + place] = float(not held)
        return jacobian, bend

    def from_roots(self, x: FloatArray, roots: list[FloatArray], step: FloatArray) -> FloatArray:
        """The point a step over the square roots leads to."""
        x, at = x.copy(), 0
        for root, indices in zip(roots, self.blocks):
            moved = root + step[at : at + root.size].reshape(root.shape)
            x[indices] = moved @ moved.T
            at += root.size
        x[self.residual] += self.residual_step(x, step[at:])
        return x

    def residual_step(self, x: FloatArray, step: FloatArray) -> FloatArray:
        """A step of the residual parameters, kept within bounds."""
        if not self.residual:
            return step
        here = x[self.residual]
        return np.asarray(np.clip(here + np.clip(step, -3.0, 3.0), self.lowest, 12.0) - here)


def search_space(model: Model) -> SearchSpace:
    """The space of a model's variance parameters."""
    residual = [k for k, parameter in enumerate(model.parameters) if parameter.kind == "residual"]
    blocks = covariance_blocks(model)
    scalars = np.array([indices[0, 0] for indices in blocks if len(indices) == 1], dtype=np.int64)
    return SearchSpace(residual, model.correlation == "car1", blocks, scalars)


def covariance_blocks(model: Model) -> list[IntArray]:
    """For every block of effects the (q, q) positions of its covariances in the parameter vector."""
    found = []
    number = {(parameter.kind, parameter.i, parameter.j): k for k, parameter in enumerate(model.parameters)}
    for block in model.design.blocks:
        kind = "outer" if block.outer else "inner"
        indices = [[number[kind, max(i, j), min(i, j)] for j in block.places] for i in block.places]
        found.append(np.array(indices, dtype=np.int64))
    return found


def gradient_matrix(gradient: FloatArray, indices: Any) -> FloatArray:
    """The symmetric matrix G with d deviance = <G, dD>, from derivatives by elements (off-diagonals count twice)."""
    matrix = gradient[indices] / 2
    matrix[np.diag_indices(len(indices))] *= 2
    return np.asarray(matrix)


def square_root(matrix: FloatArray) -> FloatArray:
    """L with L L' the matrix, negative eigenvalues taken as zero."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
