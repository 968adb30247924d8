"""A dense system and its modes are the same model (spec §1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example
from hypothesis import strategies as st
from numpy.typing import NDArray

from afa_conformance.drawing import drawn
from afa_conformance.subject import Subject
from afa_core._array.arrays import namespace
from afa_core.model.diagonalise import Basis, diagonalise
from afa_core.model.sde import DiagonalSDE, Noise

SEEDS = st.integers(0, 2**32 - 1)


def dense(vectors: NDArray[Any], diagonal: NDArray[Any]) -> NDArray[Any]:
    """Return SΛS†."""
    return np.asarray(vectors @ np.diag(diagonal) @ vectors.conj().T)


def solve(subject: Subject, *matrices: Any) -> Any:
    """Return model and basis by the library, or by NumPy where the library has no `eig`."""
    sent: Any = [subject.from_numpy(x) for x in matrices]
    if not hasattr(namespace(matrix=sent[0]).linalg, "eig"):
        with pytest.raises(TypeError, match=r"linalg\.eig"):
            diagonalise(*sent)
        return diagonalise(*matrices)
    sde, basis = diagonalise(*sent)
    parts: Any = (sde.decay, sde.frequency, *sde.noise)
    decay, frequency, *noises = (subject.to_numpy(x) for x in parts)
    return DiagonalSDE(decay, frequency, Noise(*noises)), Basis(
        *(subject.to_numpy(x) for x in basis)
    )


def random_basis(rng: np.random.Generator, n: int) -> NDArray[Any]:
    """Return well-conditioned complex vectors, columns of any length."""
    vectors = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    orthogonal, _ = np.linalg.qr(vectors)
    return np.asarray(orthogonal @ (np.eye(n) + 0.3 * np.triu(vectors, 1))) * rng.uniform(
        0.5, 2.0, n
    )


@drawn(seed=SEEDS, equal=st.sampled_from([1, 2, 4]), driven=st.booleans())
@example(seed=440, equal=4, driven=True)  # a mixture of the noises gives two modes one value
def test_system_is_reconstructed(subject: Subject, seed: int, equal: int, driven: bool) -> None:
    """Spec §1: A = SΛS⁻¹ and Q, R, Γ = SΛ_•S†, to 1e-12, also with equal eigenvalues.

    Columns of S have length 1, to 1e-14.
    """
    rng = np.random.default_rng(seed)
    vectors = random_basis(rng, 4)
    eigenvalue = -rng.uniform(0.0, 1.0, 4) + 1j * rng.uniform(-2.0, 2.0, 4)
    eigenvalue[:equal] = eigenvalue[0]
    state = vectors @ np.diag(eigenvalue) @ np.linalg.inv(vectors)
    noises = [dense(vectors, x) for x in rng.uniform(0.0, 1.0, (3, 4))]
    noises[0] = dense(vectors, driven * np.asarray([0.0, 1.0, 0.5, 0.5]))
    sde, basis = solve(subject, state, *noises)
    found = -np.asarray(sde.decay) + 1j * np.asarray(sde.frequency)
    subject.assert_close(basis.matrix @ np.diag(found) @ basis.inverse, state, 1e-12)
    for own, whole in zip(sde.noise, noises, strict=True):
        assert np.all(np.asarray(own) >= 0.0)
        subject.assert_close(dense(np.asarray(basis.matrix), np.asarray(own)), whole, 1e-12)
    subject.assert_close(np.linalg.norm(basis.matrix, axis=0), np.ones(4), 1e-14)
    subject.assert_close(basis.matrix @ basis.inverse, np.eye(4), 1e-12)


@pytest.mark.many_shapes
def test_mode_without_any_noise(subject: Subject) -> None:
    """Spec §1: Q, R, Γ = SΛ_•S†, to 1e-12, where equal eigenvalues differ by their noises only.

    Even where one mode has no noise at all.
    """
    for vectors in (np.eye(3), random_basis(np.random.default_rng(2), 3)):
        noises = [dense(vectors, np.asarray([0.0, x, 1.0])) for x in (0.3, 0.5, 2.0)]
        sde, basis = solve(subject, -0.5 * np.eye(3), *noises)
        for own, whole in zip(sde.noise, noises, strict=True):
            subject.assert_close(dense(basis.matrix, own), whole, 1e-12)


@pytest.mark.many_shapes
@drawn(seed=SEEDS)
def test_real_system_has_conjugate_pairs(subject: Subject, seed: int) -> None:
    """Spec §1: a real system has conjugate pairs of eigenvalues with equal noises, to 1e-11.

    Real vectors return from the modes real, to 1e-12.
    """
    rng = np.random.default_rng(seed)
    similar = np.linalg.qr(rng.normal(size=(5, 5)))[0] * rng.uniform(0.5, 2.0, 5)
    similar = similar @ (np.eye(5) + 0.2 * np.triu(rng.normal(size=(5, 5)), 1))
    blocks = np.diag(-rng.uniform(0.1, 1.0, 5)[[0, 0, 1, 1, 2]])
    blocks[0, 1], blocks[2, 3] = rng.uniform(0.5, 2.0, 2)
    blocks[1, 0], blocks[3, 2] = -blocks[0, 1], -blocks[2, 3]
    noises = [dense(similar, x[[0, 0, 1, 1, 2]]) for x in rng.uniform(0.1, 1.0, (3, 3))]
    sde, basis = solve(subject, similar @ blocks @ np.linalg.inv(similar), *noises)
    frequency = np.asarray(sde.frequency)
    mirror = [int(np.argmin(np.abs(frequency + x))) for x in frequency]
    for field in (sde.decay, *sde.noise):
        subject.assert_close(np.asarray(field)[mirror], np.asarray(field), 1e-11)
    subject.assert_close(frequency[mirror], -frequency, 1e-11)
    x = rng.normal(size=(3, 5))
    returned = basis.from_modes(basis.to_modes(x))
    subject.assert_close(np.imag(returned), np.zeros_like(x), 1e-12, scale=1.0)
    subject.assert_close(np.real(returned), x, 1e-12)


def test_change_of_basis(subject: Subject) -> None:
    """Spec §1: x = Sz to 1e-13, and the flow of the modes is that of the system, to 1e-12."""
    rng = np.random.default_rng(0)
    vectors = random_basis(rng, 3)
    eigenvalue = np.asarray([-0.1 + 1.0j, -0.5, -0.2 - 2.0j])
    state = vectors @ np.diag(eigenvalue) @ np.linalg.inv(vectors)
    unit = dense(vectors, np.ones(3))
    sde, basis = solve(subject, state, unit, unit, unit)
    x = rng.normal(size=(2, 4, 3))
    modes = np.asarray(basis.to_modes(x))
    subject.assert_close(modes @ np.asarray(basis.matrix).T, x + 0j, 1e-13)
    rate = -np.asarray(sde.decay) + 1j * np.asarray(sde.frequency)
    derivative = basis.from_modes(rate * modes)
    subject.assert_close(derivative, x @ state.T, 1e-12)


@pytest.mark.asserts
@pytest.mark.many_shapes
def test_rounding_below_zero_is_zero(subject: Subject) -> None:
    """Spec §1: decays and noises are not negative by rounding; decays of a rotation are < 1e-13."""
    rng = np.random.default_rng(5)
    orthogonal = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    blocks = np.zeros((6, 6))
    blocks[[0, 2, 4], [1, 3, 5]], blocks[[1, 3, 5], [0, 2, 4]] = (1.0, 2.0, 3.0), (-1.0, -2.0, -3.0)
    some = dense(orthogonal, np.asarray([1.0, 1.0, 0.0, 0.0, 0.0, 0.0]))
    sde, _ = solve(subject, orthogonal @ blocks @ orthogonal.T, some, np.eye(6), np.eye(6))
    for field in (sde.decay, *sde.noise):
        assert np.all(np.asarray(field) >= 0.0)
    assert np.all(np.asarray(sde.decay) < 1e-13)


UNIT = np.eye(2)
SKEW = np.asarray([[-0.1, -2.0], [0.5, -0.3]])
REFUSED = {
    "defective": (np.asarray([[-1.0, 1.0], [0.0, -1.0]]), UNIT, UNIT, UNIT),
    "process_covariance` must be diagonal in": (SKEW, UNIT, 0.0 * UNIT, 0.0 * UNIT),
    "query_covariance` must be diagonal in": (SKEW, 0.0 * UNIT, 0.0 * UNIT, UNIT),
    "measurement_covariance` must be Hermitian": (SKEW, UNIT, SKEW, UNIT),
    "query_covariance` must be positive semidefinite": (SKEW, UNIT, UNIT, -UNIT),
    "process_covariance` must be finite": (SKEW, np.nan * UNIT, UNIT, UNIT),
    "state_matrix` must have shape": (np.ones((2, 3)), UNIT, UNIT, UNIT),
    "query_covariance` must have shape": (SKEW, UNIT, UNIT, np.eye(3)),
}


@pytest.mark.asserts
@pytest.mark.parametrize("message", REFUSED)
def test_unsuitable_systems_are_refused(subject: Subject, message: str) -> None:
    """Spec §1: systems without modes, or with noises correlated across modes, raise ValueError."""
    with pytest.raises(ValueError, match=message):
        solve(subject, *REFUSED[message])


@pytest.mark.asserts
@drawn(seed=SEEDS)
def test_hidden_defect(subject: Subject, seed: int) -> None:
    """Spec §1: a defective matrix raises ValueError, also where rounding hides the defect."""
    rng = np.random.default_rng(seed)
    similar = np.linalg.qr(rng.normal(size=(4, 4)))[0] * rng.uniform(0.5, 2.0, 4)
    blocks = np.diag([-0.5, -0.5, -0.5, -1.0])
    blocks[0, 1] = 1.0
    unit = np.eye(4)
    with pytest.raises(ValueError, match="defective"):
        solve(subject, similar @ blocks @ np.linalg.inv(similar), unit, unit, unit)
