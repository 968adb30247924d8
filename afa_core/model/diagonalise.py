"""From a dense linear system to its modes: A = SΛS⁻¹, Q = SΛ_QS† (spec §1)."""

from __future__ import annotations

from typing import NamedTuple, SupportsComplex, SupportsFloat, cast

from afa_core._array.arrays import (
    Array,
    Namespace,
    check_array,
    check_devices,
    complex_dtype,
    compute_dtype,
    device_of,
    library_name,
    namespace,
)
from afa_core._array.products import matmul
from afa_core._checks.shapes import check_axis, check_floating
from afa_core.model.sde import DiagonalSDE, Noise


class Basis(NamedTuple):
    """The eigenbasis of a dense system: x = S z.

    Parameters
    ----------
    matrix : array, shape (n, n)
        S, complex, its columns the eigenvectors, of unit norm.
    inverse : array, shape (n, n)
        S⁻¹.
    """

    matrix: Array
    inverse: Array

    def to_modes(self, x: Array) -> Array:
        """Return z = S⁻¹x, complex, for vectors x, (..., n), real or complex."""
        return _apply(self.inverse, x)

    def from_modes(self, modes: Array) -> Array:
        """Return x = S z, complex, (..., n); take its real part where the system is real."""
        return _apply(self.matrix, modes)


def diagonalise(
    state_matrix: Array,
    process_covariance: Array,
    measurement_covariance: Array,
    query_covariance: Array,
) -> tuple[DiagonalSDE, Basis]:
    """Return the modes of dx = A x dt + G dw, Q = GG†, and their basis.

    A = SΛS⁻¹ gives decay −Re λ and frequency Im λ; the noises follow by congruence,
    Λ_Q = S⁻¹QS⁻†, likewise for R and Γ, and must come out diagonal. Among equal eigenvalues,
    where S is not unique, it is chosen to diagonalise the noises. A real system gives conjugate
    pairs of modes with equal noises.

    This function sets up a model and cannot be traced: values are read and checked.

    Parameters
    ----------
    state_matrix : array, shape (n, n)
        A, 1/time, real or complex.
    process_covariance : array, shape (n, n)
        Q, value²/time, Hermitian and positive semidefinite.
    measurement_covariance, query_covariance : array, shape (n, n)
        R and Γ, value².

    Returns
    -------
    DiagonalSDE
        Arrays (n,), real. A decay or a noise that is negative by rounding is set to zero.
    Basis
        S and S⁻¹.

    Raises
    ------
    TypeError
        If an argument is not a floating array, or the library has no ``linalg.eig``.
    ValueError
        If shapes do not fit, a value is not finite, a covariance is not Hermitian and positive
        semidefinite to √eps, A is defective (the condition number of S is above 0.01/√eps; that
        of a defective matrix is about 1/√eps by rounding), or a covariance is not diagonal in
        the eigenbasis of A to √eps of its size.

    References
    ----------
    Spec §1.

    Examples
    --------
    A damped rotation with the same noise in every direction:

    >>> import numpy as np
    >>> state_matrix = np.asarray([[-0.1, -2.0], [2.0, -0.1]])
    >>> unit = np.eye(2)
    >>> sde, basis = diagonalise(state_matrix, 0.2 * unit, 1.0 * unit, 0.5 * unit)
    >>> sde.decay, sde.frequency, sde.noise.process
    (array([0.1, 0.1]), array([ 2., -2.]), array([0.2, 0.2]))
    >>> basis.from_modes(basis.to_modes(np.asarray([1.0, 0.0]))).real.round(12)
    array([1., 0.])
    """
    covariances = {
        "process_covariance": process_covariance,
        "measurement_covariance": measurement_covariance,
        "query_covariance": query_covariance,
    }
    xp = _check(state_matrix, covariances)
    dtype = complex_dtype(xp, compute_dtype(xp, state_matrix, *covariances.values()))
    eps = float(xp.finfo(dtype).eps)
    hermitian = {
        name: _hermitian(name, xp.astype(x, dtype), eps, xp=xp) for name, x in covariances.items()
    }
    values, vectors = (xp.astype(x, dtype) for x in xp.linalg.eig(state_matrix))
    condition = _condition(vectors, xp=xp)
    if not condition <= 0.01 / eps**0.5:
        msg = (
            "`state_matrix` must have a full set of eigenvectors, got a defective matrix "
            f"(condition number of its eigenvectors {condition:.1e}). Perturb it: modes that "
            "feed each other are no modes of this model."
        )
        raise ValueError(msg)
    size = _largest(state_matrix, xp=xp)
    tolerance = 10.0 * values.shape[0] * eps * condition * size
    values, vectors = _choose_basis(values, vectors, list(hermitian.values()), tolerance, xp=xp)
    basis = Basis(vectors, xp.linalg.inv(vectors))
    noises = (_congruent(name, x, basis, eps, xp=xp) for name, x in hermitian.items())
    decay = -xp.real(values)
    decay = xp.where(xp.logical_and(decay < 0.0, decay > -tolerance), 0.0, decay)
    return DiagonalSDE(decay, xp.imag(values), Noise(*noises)), basis


def _congruent(name: str, x: Array, basis: Basis, eps: float, *, xp: Namespace) -> Array:
    """Return the diagonal of S⁻¹QS⁻†, after checking that this matrix is diagonal."""
    modal = _conjugate(basis.inverse, x, xp=xp)
    diagonal = xp.real(xp.linalg.diagonal(modal))
    identity = xp.eye(modal.shape[0], dtype=modal.dtype, device=device_of(modal))
    off_diagonal = _norm(modal * (1.0 - identity), xp=xp)
    norm = _norm(modal, xp=xp)
    if off_diagonal > eps**0.5 * norm:
        msg = (
            f"`{name}` must be diagonal in the eigenbasis of `state_matrix`, got an off-diagonal "
            f"part of relative size {off_diagonal / norm:.1e}. Choose S Λ S† with the eigenvectors "
            "S of `state_matrix`, or filter the dense system elsewhere."
        )
        raise ValueError(msg)
    return xp.where(diagonal < 0.0, 0.0, diagonal)


def _choose_basis(
    values: Array, vectors: Array, covariances: list[Array], tolerance: float, *, xp: Namespace
) -> tuple[Array, Array]:
    """Return eigenvalues and unit eigenvectors, in groups of equal eigenvalues.

    The eigenvalues of a group become their mean, its eigenvectors those that diagonalise the
    covariances.
    """
    inverse = xp.linalg.inv(vectors)
    chosen_values, chosen_vectors = [], []
    for group in _equal(values, tolerance):
        index = xp.asarray(group, dtype=xp.int32, device=device_of(values))
        right = xp.take(vectors, index, axis=1)  # (n, k)
        left = xp.take(inverse, index, axis=0)  # (k, n)
        if len(group) > 1:
            blocks = [_conjugate(left, x, xp=xp) for x in covariances]
            right = matmul(right, _common_basis(blocks, xp=xp), xp=xp)
        value = xp.mean(xp.take(values, index), keepdims=True)
        chosen_values.append(xp.broadcast_to(value, (len(group),)))
        lengths = xp.sqrt(xp.sum(xp.abs(right) ** 2, axis=0, keepdims=True))
        chosen_vectors.append(right / xp.astype(lengths, right.dtype))
    return xp.concat(chosen_values), xp.concat(chosen_vectors, axis=1)


MIXTURES = (2.0**0.5, -(3.0**0.5), 5.0**-0.5, -(7.0**-0.5))
"""Coefficients of the second covariance in mixtures with the first."""


def _common_basis(blocks: list[Array], *, xp: Namespace) -> Array:
    """Return T such that T⁻¹BT⁻† is diagonal for each of three blocks B, if it exists.

    Blocks that have a common T commute once they are whitened by their sum, and the eigenvectors
    of a mixture of them diagonalise all three, unless the mixture has two nearly equal
    eigenvalues. So several mixtures are tried, and the best eigenvectors are returned.
    """
    variances, axes = xp.linalg.eigh(blocks[0] + blocks[1] + blocks[2])
    floor = xp.max(variances) * float(xp.finfo(variances.dtype).eps) * variances.shape[0]
    lengths = xp.sqrt(xp.where(variances > floor, variances, 1.0))
    lengths = xp.astype(lengths, axes.dtype)
    whiten = xp.conj(xp.matrix_transpose(axes)) / lengths[:, None]
    white = [_conjugate(whiten, block, xp=xp) for block in blocks]

    identity = xp.eye(lengths.shape[0], dtype=axes.dtype, device=device_of(axes))

    def off_diagonal(vectors: Array) -> float:
        adjoint = xp.conj(xp.matrix_transpose(vectors))
        blocks = (_conjugate(adjoint, each, xp=xp) for each in white)
        return sum(_norm(x - xp.linalg.diagonal(x)[:, None] * identity, xp=xp) for x in blocks)

    candidates = [xp.linalg.eigh(white[0] + share * white[1])[1] for share in MIXTURES]
    return matmul(axes * lengths[None, :], min(candidates, key=off_diagonal), xp=xp)


def _equal(values: Array, tolerance: float) -> list[list[int]]:
    """Return the indices of eigenvalues in groups that differ by at most the tolerance."""
    numbers = [complex(cast(SupportsComplex, values[i])) for i in range(values.shape[0])]
    groups: list[list[int]] = []
    for i, number in enumerate(numbers):
        for group in groups:
            if any(abs(number - numbers[j]) <= tolerance for j in group):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def _check(state_matrix: Array, covariances: dict[str, Array]) -> Namespace:
    arrays = {"state_matrix": state_matrix, **covariances}
    for name, x in arrays.items():
        check_array(name, x)
    xp = namespace(**arrays)
    check_devices(xp, **arrays)
    if not hasattr(xp.linalg, "eig"):
        msg = (
            f"`state_matrix` must come from a library with `linalg.eig`, got {library_name(xp)}. "
            "Pass NumPy arrays and move the result."
        )
        raise TypeError(msg)
    for name, x in arrays.items():
        check_floating(xp, name, x)
        if x.ndim != 2 or x.shape[0] != x.shape[1] or not x.shape[0]:
            msg = f"`{name}` must have shape (n, n), got {tuple(x.shape)}. Pass one dense matrix."
            raise ValueError(msg)
        check_axis(name, x, -1, state_matrix.shape[0], "`state_matrix`")
        if not bool(xp.all(xp.isfinite(x))):
            msg = f"`{name}` must be finite, got NaN or infinity. Replace those entries."
            raise ValueError(msg)
    return xp


def _hermitian(name: str, x: Array, eps: float, *, xp: Namespace) -> Array:
    """Return the Hermitian part of a covariance, after checking that it is one."""
    transposed = xp.conj(xp.matrix_transpose(x))
    mismatch, size = _largest(x - transposed, xp=xp), _largest(x, xp=xp)
    if mismatch > eps**0.5 * size:
        msg = (
            f"`{name}` must be Hermitian, got entries that differ by {mismatch:.1e} from their "
            "mirror. Pass (X + X†)/2."
        )
        raise ValueError(msg)
    part = (x + transposed) / 2.0
    least = float(cast(SupportsFloat, xp.min(xp.linalg.eigvalsh(part))))
    if least < -(eps**0.5) * size:
        msg = (
            f"`{name}` must be positive semidefinite, got an eigenvalue of {least:.1e}. "
            "Pass a covariance, such as G G†."
        )
        raise ValueError(msg)
    return part


def _conjugate(matrix: Array, x: Array, *, xp: Namespace) -> Array:
    """Return M X M†."""
    return matmul(matmul(matrix, x, xp=xp), xp.conj(xp.matrix_transpose(matrix)), xp=xp)


def _condition(matrix: Array, *, xp: Namespace) -> float:
    singular = xp.linalg.svdvals(matrix)
    least = float(cast(SupportsFloat, xp.min(singular)))
    return float(cast(SupportsFloat, xp.max(singular))) / least if least else float("inf")


def _norm(x: Array, *, xp: Namespace) -> float:
    return float(cast(SupportsFloat, xp.sqrt(xp.sum(xp.abs(x) ** 2))))


def _largest(x: Array, *, xp: Namespace) -> float:
    return float(cast(SupportsFloat, xp.max(xp.abs(x))))


def _apply(matrix: Array, x: Array) -> Array:
    xp = namespace(matrix=matrix, x=x)
    check_floating(xp, "x", x)
    check_axis("x", x, -1, matrix.shape[0], "the modes of the basis")
    row = xp.astype(x, matrix.dtype)[..., None, :]
    return matmul(row, xp.matrix_transpose(matrix), xp=xp)[..., 0, :]
