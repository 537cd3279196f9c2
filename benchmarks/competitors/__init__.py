"""fastmlp and its peers, one module each, behind the same three functions.

``steps(X, Y, weights, activation)``
    Full-batch gradient descent from these weights (W1, …, WL); "relu" or "tanh" in all hidden layers.
``epochs(X, Y, weights, batch, shuffle)``
    Epochs of Adam; each takes the rows in a new order, or, with ``shuffle=False``, as they come; ReLU.
``predict(X, weights)``
    Predictions; ReLU.

The first two return ``train(count)``, which takes so many more steps or epochs and returns the weights as
NumPy arrays (W1, …, WL); `predict` returns a function without arguments, which returns the predictions (n,
m), or (n,) for m = 1. Data are brought into the form that suits a library beforehand, and stay there. No side
needs to calculate the loss, and most do not; fastmlp and scikit-learn do.
"""

from benchmarks.competitors import (
    in_rows,
    with_fastmlp,
    with_jax,
    with_numba,
    with_numba_deep,
    with_numpy,
    with_onnx,
    with_sklearn,
    with_torch,
    with_torch_compile,
)

OURS = "fastmlp"
STEPS = {
    OURS: with_fastmlp.steps,
    "NumPy": with_numpy.steps,
    "numba": with_numba.steps,
    "numba, rows": in_rows.numba_steps,
    "JAX scan": with_jax.steps_scan,
    "JAX scan, rows": in_rows.jax_steps,
    "JAX jit": with_jax.steps_jit,
    "torch.compile": with_torch_compile.steps,
    "PyTorch": with_torch.steps,
    "scikit-learn": with_sklearn.steps,
}
EPOCHS = {
    OURS: with_fastmlp.epochs,
    "NumPy": with_numpy.epochs,
    "numba": with_numba.epochs,
    "numba, rows": in_rows.numba_epochs,
    "JAX scan": with_jax.epochs_scan,
    "JAX scan, rows": in_rows.jax_epochs,
    "JAX jit": with_jax.epochs_jit,
    "torch.compile": with_torch_compile.epochs,
    "PyTorch": with_torch.epochs,
    "scikit-learn": with_sklearn.epochs,
}
PREDICT = {
    OURS: with_fastmlp.predict,
    "NumPy": with_numpy.predict,
    "numba": with_numba.predict,
    "JAX jit": with_jax.predict,
    "torch.compile": with_torch_compile.predict,
    "PyTorch": with_torch.predict,
    "scikit-learn": with_sklearn.predict,
    "ONNX Runtime": with_onnx.predict,
}


def steps(name, sizes, activation):
    """The function of a side for such networks; None where it takes no part.

    "numba" has them with ReLU, in another form from two hidden layers on; with tanh, which it calculates
    number by number, its steps took 4 to 17 times as long as fastmlp's. "numba, rows" is written out for one
    hidden layer, where its steps take 4 to 100 times as long.
    """
    deep = len(sizes) > 3
    if name.startswith("numba") and activation != "relu":
        return None
    if name == "numba" and deep:
        return with_numba_deep.steps
    return None if name == "numba, rows" and deep else STEPS[name]


PACKAGES = ("numpy", "numba", "jax", "torch", "scikit-learn", "onnxruntime")
