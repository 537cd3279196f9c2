"""Compare the functions of fastmlp.capi, called from fastmlp_user, with MLP's methods, and time one row."""

import statistics
from concurrent.futures import ThreadPoolExecutor

import fastmlp_user
import numpy as np

from fastmlp import MLP


def compare(sizes, n, dtype, weighted):
    rng = np.random.default_rng(n)
    activation = "relu" if len(sizes) < 4 else "tanh"
    net = MLP(sizes, activation=activation, dtype=dtype, init="glorot", seed=1)
    net.parameters[:] += 0.1
    X, Y = (rng.normal(size=(n, size)).astype(dtype) for size in (sizes[0], sizes[-1]))
    weights = rng.uniform(0.5, 2, n).astype(dtype) if weighted else None
    E, gradients = np.empty((n, sizes[-1]), dtype), np.empty_like(net.parameters)
    fastmlp_user.predict(net, net.parameters, X, E)
    np.testing.assert_array_equal(E, net.predict(X).reshape(E.shape))
    loss = fastmlp_user.loss_and_gradients(net, net.parameters, X, Y, weights, gradients)
    expected, expected_gradients = net.loss_and_gradients(X, Y, weights)
    assert loss == expected
    np.testing.assert_array_equal(gradients, np.concatenate([dW.ravel() for dW in expected_gradients]))
    assert fastmlp_user.loss_and_gradients(net, net.parameters, X, Y, weights, None) == net.loss(
        X, Y, weights
    )


def main():
    cases = [
        (sizes, n, dtype, weighted)
        for sizes in ((3, 4, 1), (1, 1, 1), (5, 13, 3), (20, 70, 2), (64, 256, 1), (4, 16, 16, 2), (5, 1))
        for n in (1, 2, 16, 17, 1000, 20_000)
        for dtype in ("float32", "float64")
        for weighted in (False, True)
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(compare, *zip(*cases, strict=True)))
    net, X = MLP((3, 4, 1), seed=0), np.random.default_rng(0).normal(size=(100, 3)).astype("float32")
    found = [fastmlp_user.seconds_a_row(net, net.parameters, X, 1_000_000) for _ in range(7)]
    assert np.isfinite(found).all()
    nanoseconds = statistics.median(seconds for seconds, _ in found) * 1e9
    print(f"{len(cases)} cases equal; one row of 3-4-1: {nanoseconds:.1f} ns")


if __name__ == "__main__":
    main()
