"""MLP: the network. It owns the parameters, and knows nothing of training."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import numpy as np

from fastmlp import _checks, _files, kernels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    import torch
    from numpy.typing import ArrayLike, DTypeLike

Path = str | os.PathLike[str]

FORMAT = "fastmlp"
FORMAT_VERSION = 1
LAYERS = (0, 2)  # of Sequential(Linear, ReLU, Linear): the tensors' names make a file its state dict


def _he(rng, inputs, outputs):
    """Normal, standard deviation sqrt(2 / inputs) (He et al., ICCV 2015); biases 0."""
    return rng.normal(0.0, np.sqrt(2 / inputs), (inputs, outputs)), 0.0


def _glorot(rng, inputs, outputs):
    """Uniform within sqrt(6 / (inputs + outputs)) (Glorot and Bengio, AISTATS 2010); biases 0."""
    bound = np.sqrt(6 / (inputs + outputs))
    return rng.uniform(-bound, bound, (inputs, outputs)), 0.0


def _uniform(rng, inputs, outputs):
    """Uniform in [0, 1), biases too, as on the sheet."""
    return rng.random((inputs, outputs)), rng.random(outputs)


INITIALIZERS = {"he": _he, "glorot": _glorot, "uniform": _uniform}


class MLP:
    """A network with one hidden layer of ReLU units and linear outputs.

    Parameters
    ----------
    sizes : (int, int, int)
        Features, hidden units, outputs.
    dtype : {"float32", "float64"}
        Of the parameters and of all arithmetic. It never changes: inputs of other dtypes are
        converted to it.
    init : {"he", "glorot", "uniform"}, optional
        Starting weights: normal with standard deviation sqrt(2 / inputs), uniform within
        sqrt(6 / (inputs + outputs)), or uniform in [0, 1). Biases start at 0, with "uniform" in
        [0, 1). None: what suits the activation, for ReLU "he".
    seed : int, sequence of int, or None
        Of the starting weights; None takes fresh entropy.

    Attributes
    ----------
    sizes : (int, int, int)
        Read-only.
    dtype : numpy.dtype
        Read-only.
    parameters : ((d+1) h + (h+1) m,) array
        All weights, `W1` and then `W2`, row by row, in one flat buffer. Assignable in place; what is assigned
        as a whole is checked, converted and copied.
    feature_names, target_names : tuple of str, or None
        One for each column, all different; kept in the model file. A frame (pandas, polars, Arrow) whose
        columns have names is put in the order of these, and refused if it has other names.
    trained : bool
        Whether the weights come from a fit or a file: ``Trainer(standardize=True)`` then takes them
        as those of the raw problem. Set it if you put trained weights in yourself.

    Raises
    ------
    TypeError, ValueError
        An argument is none of the above; the message names it.

    Notes
    -----
    Any number of threads may predict with one network. A change of its parameters, by the user or
    at the end of a fit, is not synchronised with them.

    Examples
    --------
    >>> net = MLP((3, 4, 1), seed=0)
    >>> net
    MLP((3, 4, 1), dtype='float32')
    >>> W1, W2 = net.weights
    >>> W1.shape, W2.shape, net.parameters.shape
    ((4, 4), (5, 1), (21,))
    >>> net.predict([[29.0, 1.0, 1.0], [2.0, 3.0, 0.0]]).shape
    (2,)
    """

    def __init__(
        self,
        sizes: tuple[int, int, int],
        *,
        dtype: DTypeLike = "float32",
        init: str | None = None,
        seed: int | Sequence[int] | None = 0,
    ) -> None:
        self._sizes = _checks.sizes(sizes)
        init = "he" if init is None else init
        if init not in INITIALIZERS:
            raise ValueError(f"init: must be one of {', '.join(INITIALIZERS)}, got {init!r}")
        self._parameters = np.empty(size(self._sizes), dtype=_checks.dtype_of_network(dtype))
        self.feature_names = None
        self.target_names = None
        self.trained = False
        rng = np.random.default_rng(seed)
        for W in self.weights:
            W[:-1], W[-1] = INITIALIZERS[init](rng, len(W) - 1, W.shape[1])

    def __repr__(self):
        return f"MLP({self.sizes}, dtype='{self.dtype}')"

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(features, hidden units, outputs)."""
        return self._sizes

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the parameters and of all arithmetic."""
        return self._parameters.dtype

    @property
    def parameters(self) -> np.ndarray:
        """All weights in one flat buffer: a view, so that the buffer cannot be resized or retyped."""
        return self._parameters[:]

    @parameters.setter
    def parameters(self, values: ArrayLike) -> None:
        values = _checks.vector("parameters", values, self.dtype, self._parameters.size)
        if self._parameters.flags.writeable:
            self._parameters[:] = values
        else:  # joblib maps large arrays of a pickle into memory
            self._parameters = values.copy()

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The names of the columns of X."""
        return self._feature_names

    @feature_names.setter
    def feature_names(self, names: Iterable[str] | None) -> None:
        self._feature_names = _checks.names("feature_names", names, self._sizes[0])

    @property
    def target_names(self) -> tuple[str, ...] | None:
        """The names of the outputs."""
        return self._target_names

    @target_names.setter
    def target_names(self, names: Iterable[str] | None) -> None:
        self._target_names = _checks.names("target_names", names, self._sizes[2])

    @property
    def trained(self) -> bool:
        """Whether the weights are those of a fit or a file."""
        return self._trained

    @trained.setter
    def trained(self, value: bool) -> None:
        self._trained = bool(value)

    @property
    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """(W1, W2): views into `parameters`, (d+1, h) and (h+1, m); the last row is the bias."""
        return matrices(self._parameters, self._sizes)

    def predict(self, X: ArrayLike, n_threads: int | None = None) -> np.ndarray:
        """Return the predictions for the rows of X.

        Parameters
        ----------
        X : (n, d) array_like or frame
            Converted to the network's dtype where it has another. NaN in a row gives NaN. The columns of a
            frame (pandas, polars, Arrow) are put in the order of `feature_names`.
        n_threads : int, optional
            At most so many threads; None means ``FASTMLP_NUM_THREADS``, or 1. The result has the
            same bits for every number.

        Returns
        -------
        (n,) array for one output, else (n, m)

        Raises
        ------
        TypeError, ValueError
            `X` is not an array of real numbers with d columns and at least one row.

        Examples
        --------
        >>> net = MLP((1, 1, 1), dtype="float64")
        >>> net.parameters[:] = 1
        >>> net.predict([[2.0], [-5.0]])
        array([4., 1.])
        """
        if n_threads is None:
            E = kernels._predict_few(X, self._parameters, self._sizes)
            if E is not None:
                return E
        X, _ = _checks.ordered("X", X, self.feature_names)
        X = _checks.matrix("X", X, self.dtype, columns=self.sizes[0])
        E = kernels._forward(X, *self.weights, n_threads)
        return E[:, 0] if self.sizes[2] == 1 else E

    def loss(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean squared error, a float; parameters as in `loss_and_gradients`.

        Examples
        --------
        >>> net = MLP((1, 1, 1), dtype="float64")
        >>> net.parameters[:] = 1
        >>> net.loss([[2.0], [-5.0]], [4.0, 3.0])
        2.0
        """
        return kernels._loss(*self._data(X, y, sample_weight), *self.weights)

    def loss_and_gradients(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
        """Return the mean squared error and its derivatives.

        Parameters
        ----------
        X : (n, d) array_like
        y : (n, m) array_like; for one output also (n,)
        sample_weight : (n,) array_like, optional
            Weights >= 0, finite, not all zero.

        Returns
        -------
        loss : float
            sum_k w_k sum_j (prediction - y)_kj**2 / (m sum_k w_k)
        gradients : (dW1, dW2)
            New arrays of the shapes of `weights`.

        Raises
        ------
        TypeError, ValueError
            An argument is not an array of real numbers, or of the wrong shape.

        Examples
        --------
        >>> net = MLP((1, 1, 1), dtype="float64")
        >>> net.parameters[:] = 1
        >>> loss, (dW1, dW2) = net.loss_and_gradients([[2.0]], [1.0])
        >>> loss, dW1.ravel(), dW2.ravel()
        (9.0, array([12.,  6.]), array([18.,  6.]))
        """
        loss, dW1, dW2 = kernels._loss_and_gradients(*self._data(X, y, sample_weight), *self.weights)
        return loss, (dW1, dW2)

    def _data(self, X, y, sample_weight) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        features, _, outputs = self.sizes
        X, _ = _checks.ordered("X", X, self.feature_names)
        y, _ = _checks.ordered("y", y, self.target_names)
        return _checks.data(X, y, sample_weight, self.dtype, features, outputs)

    def save(self, path: Path) -> None:
        """Write the network to a safetensors file, whole or not at all.

        The tensors have the names and shapes of the state dict of PyTorch's
        ``Sequential(Linear(d, h), ReLU(), Linear(h, m))``; sizes, dtype and format version are in
        the metadata. An existing file is replaced in one step, after the new one is on disk. Such a
        module takes the weights by ``module.load_state_dict(safetensors.torch.load_file(path))``.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        OSError
            The file cannot be written; what was there before is still there.

        Examples
        --------
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "net.safetensors")
        ...     MLP((3, 4, 1), seed=1).save(path)
        ...     MLP.load(path)
        MLP((3, 4, 1), dtype='float32')
        """
        import json  # here: a process that only trains need not load it (1.2 ms)

        tensors = {}
        for layer, W in zip(LAYERS, self.weights, strict=True):
            tensors[f"{layer}.weight"] = np.ascontiguousarray(W[:-1].T)
            tensors[f"{layer}.bias"] = np.ascontiguousarray(W[-1])
        metadata = {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "sizes": json.dumps(self.sizes),
            "dtype": str(self.dtype),
            "feature_names": json.dumps(self.feature_names),
            "target_names": json.dumps(self.target_names),
        }
        _files.save_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a network that `save` wrote.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        MLP

        Raises
        ------
        OSError
            The file cannot be read.
        ValueError
            It is not a fastmlp model, is damaged, of a newer format version, or its tensors do not
            fit the sizes it states; the message says which.
        """

        def build(tensors, metadata):
            sizes, dtype, names = _described(tensors, metadata)
            net = cls(sizes, dtype=dtype)
            for layer, W in zip(LAYERS, net.weights, strict=True):
                W[:-1] = tensors[f"{layer}.weight"].T
                W[-1] = tensors[f"{layer}.bias"]
            for attribute, read in names.items():
                try:
                    setattr(net, attribute, read)
                except ValueError as error:  # of a file from before names were checked: the weights are good
                    warnings.warn(f"{os.fspath(path)}: {error}; left out", stacklevel=4)
            net.trained = True
            return net

        return _files.load_tensors(path, FORMAT, FORMAT_VERSION, build)

    def to_c(self, path: Path, name: str = "network") -> None:
        """Write the network as one C99 file without dependencies, whole or not at all.

        It defines ``void NAME_predict(const float *x, float *y)`` for one row (with ``double`` for a float64
        network), and ``NAME_predict_rows(x, y, n)`` for n rows, one after the other. The weights are the same
        to the bit; predictions agree to rounding.

        Parameters
        ----------
        path : str or path-like
        name : str
            What the functions' names begin with.

        Raises
        ------
        ValueError
            `name` is no C identifier, or a parameter is NaN or infinite.
        OSError
            The file cannot be written; what was there before is still there.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "net.c")
        ...     MLP((3, 4, 1)).to_c(path, name="fare")
        ...     "void fare_predict(const float *x, float *y);" in path.read_text()
        True
        """
        from fastmlp import export  # here, as in `save`

        export.to_c(self, path, name)

    def to_onnx(self, path: Path) -> None:
        """Write the network as an ONNX model (extra ``onnx``), whole or not at all.

        Its input is ``X`` (rows, d) and its output ``E`` (rows, m), of the network's dtype; names of features
        and targets are in its metadata as JSON.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        ImportError
            onnx is not installed.
        OSError
            The file cannot be written; what was there before is still there.

        Examples
        --------
        >>> import os, tempfile, onnx
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "net.onnx")
        ...     MLP((3, 4, 1)).to_onnx(path)
        ...     [node.op_type for node in onnx.load(path).graph.node]
        ['Gemm', 'Relu', 'Gemm']
        """
        from fastmlp import export  # here, as in `save`

        export.to_onnx(self, path)

    def to_torch(self) -> torch.nn.Sequential:
        """Return a PyTorch module, ``Sequential(Linear, ReLU, Linear)``, with copies of the weights.

        Raises
        ------
        ImportError
            PyTorch (extra ``torch``) is not installed.
        """
        from fastmlp import export  # here, as in `save`

        return export.to_torch(self)

    @classmethod
    def from_torch(cls, module: torch.nn.Sequential) -> Self:
        """Return a network with copies of the weights of a PyTorch module.

        Parameters
        ----------
        module : torch.nn.Sequential
            Of a Linear, a ReLU and a Linear layer, all float32 or all float64, on any device; a layer without
            bias gets one of 0.

        Raises
        ------
        ImportError
            PyTorch (extra ``torch``) is not installed.
        TypeError, ValueError
            `module` is something else.
        """
        from fastmlp import export  # here, as in `save`

        return export.from_torch(cls, module)


def size(sizes):
    """Return how many parameters a network has."""
    d, h, m = sizes
    return (d + 1) * h + (h + 1) * m


def matrices(parameters, sizes):
    """Return (W1, W2) as views into a flat buffer."""
    d, h, m = sizes
    end = (d + 1) * h
    return parameters[:end].reshape(d + 1, h), parameters[end:].reshape(h + 1, m)


def dtype_read(name):
    """Return the dtype that a file names. NumPy would take more, and has Python parse some of it."""
    if name not in [str(dtype) for dtype in _checks.DTYPES]:
        raise ValueError(f"dtype: must be float32 or float64, got {name!r}")
    return np.dtype(name)


def names_read(names):
    """Return what a file holds as names: strings in a list, or None."""
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise TypeError(f"names must be a list of strings, got {names!r}")
    return names


def _described(tensors, metadata):
    """(sizes, dtype, names by attribute) that the metadata say; the sizes fit the tensors."""
    import json  # here, as in `save`

    sizes = _checks.sizes(json.loads(metadata["sizes"]))
    dtype = dtype_read(metadata["dtype"])
    names = {key: names_read(json.loads(metadata[key])) for key in ("feature_names", "target_names")}
    d, h, m = sizes
    wanted = {"0.weight": (h, d), "0.bias": (h,), "2.weight": (m, h), "2.bias": (m,)}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    if shapes != wanted:
        raise ValueError(f"tensors {shapes} do not fit its sizes {sizes}, which need {wanted}")
    dtypes = {str(tensor.dtype) for tensor in tensors.values()}
    if dtypes != {str(dtype)}:
        raise ValueError(f"tensors of dtype {', '.join(sorted(dtypes))}, and its metadata say {dtype}")
    return sizes, dtype, names
