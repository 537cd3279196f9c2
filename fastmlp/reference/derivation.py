"""The exercise sheet's network, node by node, in plain NumPy.

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

`fastmlp.reference.chain` is the same for every depth, activation and objective, and is tested to equal this
at one hidden layer. Arrays are (n, d), (n, m), (d+1, h), (h+1, m), (n,).
"""

import numpy as np

from fastmlp.reference.chain import no_false_alarm, with_ones


def _relu(B):
    """B where it is positive, else 0; NaN stays NaN."""
    return np.where(B <= 0, np.zeros((), B.dtype), B)


@no_false_alarm
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
    A = with_ones(X)
    B = A @ W1
    C = _relu(B)
    D = with_ones(C)
    E = D @ W2
    F = E - np.reshape(Y, E.shape)
    G = F**2
    w = np.ones(len(X), dtype=X.dtype) if sample_weight is None else sample_weight
    H = w @ G.sum(axis=1)
    L = H / (G.shape[1] * w.sum())
    return {"A": A, "B": B, "C": C, "D": D, "E": E, "F": F, "G": G, "H": H, "L": L}


@no_false_alarm
def gradients(
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
    >>> gradients(np.array([[2.0]]), np.array([[1.0]]), W1, W2)
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
