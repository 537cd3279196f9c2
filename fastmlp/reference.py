"""The mathematics, node by node, in plain NumPy: the specification, and the only home of the formulas.

The network of the sheet has one hidden layer with ReLU and a linear output; its loss is the mean
squared error. Biases live inside the weight matrices: a column of ones is appended to the input of
each layer, so the last row of `W1` (d+1, h) and of `W2` (h+1, m) is the bias. Every node has the
letter it has on the sheet; ``D'`` is D transposed and ``*`` multiplies element by element.

==== ====================== ========== ==========================================
node value                  shape      in words
==== ====================== ========== ==========================================
A    [X, 1]                 (n, d+1)   the input, with its column of ones
B    A W1                   (n, h)     what each hidden unit receives
C    ReLU(B)                (n, h)     what it passes on
D    [C, 1]                 (n, h+1)   the hidden layer, with its column of ones
E    D W2                   (n, m)     the prediction
F    E - Y                  (n, m)     the residual
G    F**2                   (n, m)     its square
H    sum_k w_k sum_j G_kj   scalar     w_k: sample weights, 1 if there are none
L    H / (m sum_k w_k)      scalar     the loss; H / (n m) if there are no weights
==== ====================== ========== ==========================================

The compiled kernels (`fastmlp.kernels`) have the same signatures and are tested against this module.
Nothing here is checked or optimised; arrays are (n, d), (n, m), (d+1, h), (h+1, m), (n,).
"""

import numpy as np

# OpenBLAS's float32 matrix-vector product reads past its operand in unused lanes (seen with NumPy 2.4.6 for
# (3, 5) @ (5, 1), after the stack had been filled with signalling NaNs): the result is right, and yet NumPy
# now and then warns of an invalid value. As a decorator, for the products of this module.
_no_false_alarm = np.errstate(invalid="ignore")


def _with_ones(U):
    """[U, 1]."""
    return np.hstack([U, np.ones((len(U), 1), dtype=U.dtype)])


def _relu(B):
    """B where it is positive, else 0; NaN stays NaN."""
    return np.where(B <= 0, np.zeros((), B.dtype), B)


@_no_false_alarm
def graph(
    X: np.ndarray, Y: np.ndarray, W1: np.ndarray, W2: np.ndarray, sample_weight: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Every node of the computation graph, from the input to the loss.

    Parameters
    ----------
    X : (n, d) array
    Y : (n, m) array
    W1 : (d+1, h) array
        Last row: the biases of the hidden units.
    W2 : (h+1, m) array
        Last row: the biases of the outputs.
    sample_weight : (n,) array, optional
        Weights >= 0, not all zero.

    Returns
    -------
    dict
        The nodes "A", "B", "C", "D", "E", "F", "G" (arrays), "H" and "L" (scalars).

    Examples
    --------
    >>> nodes = graph(np.array([[2.0]]), np.array([[1.0]]), np.array([[1.0], [1.0]]), np.ones((2, 1)))
    >>> nodes["C"], nodes["E"], nodes["L"]
    (array([[3.]]), array([[4.]]), np.float64(9.0))
    """
    A = _with_ones(X)
    B = A @ W1
    C = _relu(B)
    D = _with_ones(C)
    E = D @ W2
    F = E - np.reshape(Y, E.shape)
    G = F**2
    w = np.ones(len(X), dtype=X.dtype) if sample_weight is None else sample_weight
    H = w @ G.sum(axis=1)
    L = H / (G.shape[1] * w.sum())
    return {"A": A, "B": B, "C": C, "D": D, "E": E, "F": F, "G": G, "H": H, "L": L}


@_no_false_alarm
def forward(X: np.ndarray, W1: np.ndarray, W2: np.ndarray) -> np.ndarray:
    """The predictions E, of shape (n, m).

    Examples
    --------
    >>> forward(np.array([[2.0]]), np.array([[1.0], [1.0]]), np.ones((2, 1)))
    array([[4.]])
    """
    return _with_ones(_relu(_with_ones(X) @ W1)) @ W2


@_no_false_alarm
def loss_and_gradients(
    X: np.ndarray, Y: np.ndarray, W1: np.ndarray, W2: np.ndarray, sample_weight: np.ndarray | None = None
) -> tuple[float, np.ndarray, np.ndarray]:
    """The loss L, and its derivatives by `W1` and `W2`, by hand.

    Backwards from L, each line one edge of the graph::

        dL/dH = 1 / (m sum w)          1/(n m) without weights
        dL/dG = w dL/dH                H adds up w G
        dL/dF = 2 F * dL/dG            G = F**2
        dL/dE = dL/dF                  F = E - Y
        dW2   = D' dL/dE               E = D W2
        dL/dD = dL/dE W2'
        dL/dC = dL/dE W2[:h]'          D = [C, 1]

    The last step is where the sheet writes "this does not work": dL/dD has h+1 columns, C only h.
    The last column of D is the constant 1. No hidden unit lies below it, so nothing flows back
    through it, and the bias row of W2 is left out (the sheet's I⁴, the identity without its last
    row, does the same)::

        dL/dB = dL/dC * 1[B > 0]       C = ReLU(B); the derivative at 0 is 0
        dW1   = A' dL/dB               B = A W1

    Returns
    -------
    loss : float
    dW1 : (d+1, h) array
    dW2 : (h+1, m) array

    Examples
    --------
    >>> W1, W2 = np.array([[1.0], [1.0]]), np.ones((2, 1))
    >>> loss_and_gradients(np.array([[2.0]]), np.array([[1.0]]), W1, W2)
    (9.0, array([[12.],
           [ 6.]]), array([[18.],
           [ 6.]]))
    """
    nodes = graph(X, Y, W1, W2, sample_weight)
    A, B, D, F = (nodes[name] for name in "ABDF")
    n, m = F.shape
    h = W1.shape[1]
    w = np.ones(n, dtype=X.dtype) if sample_weight is None else sample_weight
    dE = 2 * F * (w / (m * w.sum()))[:, None]
    dW2 = D.T @ dE
    dC = dE @ W2[:h].T
    dB = np.where(B <= 0, np.zeros((), dC.dtype), dC)  # dC * 1[B > 0], and NaN where B is NaN
    dW1 = A.T @ dB
    return float(nodes["L"]), dW1, dW2


def error_bounds(X, Y, W1, W2, sample_weight=None, *, eps):
    """How far two correct calculations of E, L, dW1 and dW2 may lie apart, element by element.

    A sum of k products in arithmetic of relative precision `eps`, in any order, is off by at most
    k eps times the sum of the absolute products (Higham, Accuracy and Stability of Numerical
    Algorithms, 2002, section 3.1). Every node is a chain of sums over d+1, h+1, m and n terms, so
    each bound is the sum of these lengths, times eps, times the node calculated from absolute
    values without ReLU. Of dW1 and dW2 it holds where rounding moves no B across 0.

    Returns
    -------
    dict
        Bounds "E", "L", "dW1" and "dW2", float64, of the nodes' shapes.

    Examples
    --------
    >>> error_bounds(np.ones((1, 1)), np.ones((1, 1)), np.ones((2, 1)), np.ones((2, 1)), eps=0.01)["E"]
    array([[0.18]])
    """
    X, Y, W1, W2 = (np.abs(values, dtype=np.float64) for values in (X, Y, W1, W2))
    n, m = len(X), W2.shape[1]
    w = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    forward_error = (len(W1) + len(W2) + 2) * eps
    backward_error = forward_error + (n + m + 4) * eps
    A = _with_ones(X)
    D = _with_ones(A @ W1)
    E = D @ W2
    F = E + np.reshape(Y, E.shape)
    dE = 2 * F * (w / (m * w.sum()))[:, None]
    dB = dE @ W2[:-1].T
    return {
        "E": forward_error * E,
        "L": backward_error * 2 * float(w @ (F**2).sum(axis=1)) / (m * w.sum()),
        "dW1": backward_error * A.T @ dB,
        "dW2": (backward_error + len(W1) * eps) * D.T @ dE,  # D is itself a sum, of d+1 terms
    }


def penalty(W1, W2, l2):
    """l2/2 times the sum of the squared weights, biases left out, and its derivatives.

    It is added to the loss that is minimised, and left out of the losses that are reported.

    Examples
    --------
    >>> penalty(np.array([[1.0], [1.0]]), np.ones((2, 1)), 0.5)
    (0.5, array([[0.5],
           [0. ]]), array([[0.5],
           [0. ]]))
    """
    without_biases = [np.vstack([W[:-1], np.zeros_like(W[-1:])]) for W in (W1, W2)]
    value = l2 / 2 * sum((W**2).sum() for W in without_biases)
    return (float(value), *(l2 * W for W in without_biases))


def clipped(gradient, max_norm):
    """The gradient, or where its norm is larger than `max_norm` one of that norm in its direction.

    ``g min(1, max_norm / (|g| + 1e-6))`` over all parameters (Pascanu et al., ICML 2013, in PyTorch's form).

    Examples
    --------
    >>> clipped(np.array([3.0, 4.0]), 1.0).round(3)
    array([0.6, 0.8])
    """
    factor = max_norm / (np.sqrt(np.sum(np.square(gradient, dtype=np.float64))) + 1e-6)
    return gradient if factor >= 1 else gradient * gradient.dtype.type(factor)


def sgd_step(parameters, gradient, moments, step, *, learning_rate, momentum, nesterov):
    """One step of stochastic gradient descent, in place.

    ``v = momentum v + g``, then ``p -= learning_rate v``, with Nesterov's look-ahead
    ``p -= learning_rate (g + momentum v)`` (Sutskever et al., ICML 2013, in PyTorch's form).

    Parameters
    ----------
    parameters, gradient : (size,) array
        `parameters` is changed.
    moments : (2, size) array
        The optimizer's memory, zeros at first; changed. Here row 0 is v.
    step : int
        The steps taken, this one included.
    """
    v = moments[0]
    v *= momentum
    v += gradient
    parameters -= learning_rate * (gradient + momentum * v if nesterov else v)


def adam_step(parameters, gradient, moments, step, *, learning_rate, beta1, beta2, eps, weight_decay=0.0):
    """One step of Adam, or with a `weight_decay` of AdamW, in place.

    ``p *= 1 - learning_rate weight_decay``; ``a = beta1 a + (1 - beta1) g``;
    ``b = beta2 b + (1 - beta2) g**2``;
    ``p -= learning_rate (a / (1 - beta1**t)) / (sqrt(b / (1 - beta2**t)) + eps)``
    (Kingma and Ba, 2015, algorithm 1; Loshchilov and Hutter, 2019, algorithm 2).
    The arguments are those of `sgd_step`; the rows of `moments` are a and b.
    """
    a, b = moments
    parameters *= 1 - learning_rate * weight_decay
    a *= beta1
    a += (1 - beta1) * gradient
    b *= beta2
    b += (1 - beta2) * gradient**2
    mean, mean_square = a / (1 - beta1**step), b / (1 - beta2**step)
    parameters -= learning_rate * mean / (np.sqrt(mean_square) + eps)


def permutation(n, rng):
    """The order in which an epoch takes n rows, from a `numpy.random.Generator`.

    Fisher and Yates: from the last place down, swap with a random place not above it. NumPy draws
    these indices, as the kernels do, by Lemire's method (ACM TOMACS 29(1), 2019), which unlike the
    masked rejection of ``rng.permutation`` takes one draw for almost every index.

    Examples
    --------
    >>> permutation(5, np.random.default_rng(0))
    array([3, 0, 1, 2, 4])
    """
    order = np.arange(n)
    places = np.arange(n - 1, 0, -1)
    for i, j in zip(places, rng.integers(places, dtype=np.uint32, endpoint=True), strict=True):
        order[i], order[j] = order[j], order[i]
    return order


def train_epoch(
    X, Y, W1, W2, moments, step, optimizer_step, batches, sample_weight=None, l2=0.0, clip_norm=np.inf
):
    """One epoch: a gradient and an optimizer's step for each batch of rows.

    Parameters
    ----------
    X, Y, W1, W2, sample_weight
        As in `loss_and_gradients`. `W1` and `W2` are changed.
    moments : (2, size) array
        The optimizer's memory for the parameters in one row: `W1`, then `W2`. Changed.
    step : int
        Optimizer steps taken before.
    optimizer_step : callable
        ``optimizer_step(parameters, gradient, moments, step)``: `sgd_step` or `adam_step` with
        its hyper-parameters bound.
    batches : iterable of index arrays
        The rows of each batch. A batch whose weights are all zero is passed over.
    l2 : float
        The factor of `penalty`.
    clip_norm : float
        The norm that a gradient, that of the penalty included, is `clipped` to.

    Returns
    -------
    step : int
        Optimizer steps taken, these included.
    loss : float
        Mean loss of the rows as they were seen, each before the step of its batch.
    """
    parameters = np.concatenate([W1.ravel(), W2.ravel()])
    seen = total = 0.0
    for rows in batches:
        w = np.ones(len(rows), dtype=X.dtype) if sample_weight is None else sample_weight[rows]
        if not w.any():
            continue
        loss, dW1, dW2 = loss_and_gradients(X[rows], Y[rows], W1, W2, w)
        _, pW1, pW2 = penalty(W1, W2, l2)
        gradient = np.concatenate([(dW1 + pW1).ravel(), (dW2 + pW2).ravel()])
        step += 1
        optimizer_step(parameters, clipped(gradient, clip_norm), moments, step)
        W1.flat, W2.flat = parameters[: W1.size], parameters[W1.size :]
        seen += float(w.sum())
        total += float(w.sum()) * loss
    return step, total / seen
