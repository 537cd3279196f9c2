"""MLP: the network. It owns the parameters, and knows nothing of training."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from fastmlp import _checks, activations, kernels, objectives

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    import torch
    from numpy.typing import ArrayLike, DTypeLike

    from fastmlp.objectives import Objective

Path = str | os.PathLike[str]


def _he(rng, inputs, outputs):
    """Normal, standard deviation sqrt(2 / inputs) (He et al., ICCV 2015); biases 0."""
    return rng.normal(0.0, np.sqrt(2 / inputs), (inputs, outputs)), 0.0


def _lecun(rng, inputs, outputs):
    """Normal, standard deviation sqrt(1 / inputs) (Klambauer et al., NeurIPS 2017, for selu); biases 0."""
    return rng.normal(0.0, np.sqrt(1 / inputs), (inputs, outputs)), 0.0


def _glorot(rng, inputs, outputs):
    """Uniform within sqrt(6 / (inputs + outputs)) (Glorot and Bengio, AISTATS 2010); biases 0."""
    bound = np.sqrt(6 / (inputs + outputs))
    return rng.uniform(-bound, bound, (inputs, outputs)), 0.0


def _uniform(rng, inputs, outputs):
    """Uniform in [0, 1), biases too, as on the sheet."""
    return rng.random((inputs, outputs)), rng.random(outputs)


INITIALIZERS = {"he": _he, "glorot": _glorot, "lecun": _lecun, "uniform": _uniform}


class MLP:
    """A network of dense layers: a chain of matrix products with an activation between each two of them.

    Parameters
    ----------
    sizes : sequence of int
        Features, hidden units of each layer (none: a linear model), outputs.
    activation : str or sequence of str
        One for all hidden layers, or one for each: identity, relu, leaky_relu (0.01 below 0), elu, selu,
        tanh, logistic, softplus, silu, gelu (exact, by erf), mish.
    objective : str or object of `fastmlp.objectives`
        What training minimises, and the link that makes predictions of the raw outputs: squared_error,
        absolute_error, huber, quantile, poisson, gamma, binary_log_loss, log_loss. Those with a parameter
        come as objects, e.g. ``Quantile((0.1, 0.9))``.
    dtype : {"float32", "float64"}
        Of the parameters and of all arithmetic. It never changes: inputs of other dtypes are
        converted to it.
    init : {"he", "glorot", "lecun", "uniform"}, optional
        Starting weights: normal with standard deviation sqrt(2 / inputs), uniform within
        sqrt(6 / (inputs + outputs)), normal with sqrt(1 / inputs), or uniform in [0, 1). Biases start at 0,
        with "uniform" in [0, 1). None: what suits each layer's activation (for relu "he", for tanh "glorot").
    seed : int, sequence of int, or None
        Of the starting weights; None takes fresh entropy.

    Attributes
    ----------
    sizes : tuple of int
        Read-only.
    activations : tuple of str
        One for each hidden layer. Read-only.
    objective : object of `fastmlp.objectives`
        Read-only.
    dtype : numpy.dtype
        Read-only.
    parameters : (sum of (s_{l-1} + 1) s_l,) array
        All weights, `W_1`, then `W_2`, …, row by row, in one flat buffer. Assignable in place; what is
        assigned as a whole is checked, converted and copied.
    feature_names, target_names : tuple of str, or None
        One for each column, all different; kept in the model file. A frame (pandas, polars, Arrow) whose
        columns have names is put in the order of these, and refused if it has other names.
    trained : bool
        Whether the weights come from a fit or a file: ``Trainer(standardize=True)`` then takes them
        as those of the raw problem. Set it if you put trained weights in yourself.

    Raises
    ------
    TypeError, ValueError
        An argument is none of the above, or sizes, activation and objective do not fit each other; the
        message names it.

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
    >>> MLP((4, 16, 16, 3), activation="tanh", objective="log_loss").predict(np.zeros((1, 4))).sum().round(4)
    np.float32(1.0)
    """

    # so that setting what there is not (net.activation) is an error
    __slots__ = (
        *("_activations", "_compiled", "_feature_names", "_objective", "_parameters", "_sizes"),
        *("_target_names", "_trained", "__weakref__"),
    )

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str | Iterable[str] = "relu",
        objective: str | Objective = "squared_error",
        dtype: DTypeLike = "float32",
        init: str | None = None,
        seed: int | Sequence[int] | None = 0,
    ) -> None:
        self._describe(sizes, activation, objective, dtype)
        if init is not None and init not in INITIALIZERS:
            raise ValueError(f"init: must be one of {', '.join(INITIALIZERS)}, got {init!r}")
        rng = _checks.random_generator(seed)
        of_layers = [activations.ACTIVATIONS[name].init for name in self._activations] or ["glorot"]
        for W, suitable in zip(self.weights, [*of_layers, of_layers[-1]][: len(self.weights)], strict=True):
            W[:-1], W[-1] = INITIALIZERS[init or suitable](rng, len(W) - 1, W.shape[1])

    def _describe(self, sizes, activation, objective, dtype):
        """Check and set what does not change; the parameters are not set."""
        self._sizes = _checks.sizes(sizes)
        self._activations = activations.resolve(activation, len(self._sizes) - 2)
        self._objective = objectives.resolve(objective)
        self._objective.check_outputs(self._sizes[-1])
        self._parameters = np.empty(kernels.n_parameters(self._sizes), dtype=_checks.dtype_of_network(dtype))
        self.feature_names = None
        self.target_names = None
        self.trained = False
        self._compiled = {}

    @classmethod
    def _like(cls, parameters, sizes, activation="relu", objective="squared_error", dtype="float32") -> Self:
        """A network with these parameters (None: not set yet); nothing is drawn."""
        net = cls.__new__(cls)
        net._describe(sizes, activation, objective, dtype)
        if parameters is not None:
            net._parameters[:] = parameters
        return net

    def copy(self) -> Self:
        """Return a network with copies of the parameters and names.

        Examples
        --------
        >>> net = MLP((3, 4, 1))
        >>> other = net.copy()
        >>> other.parameters[:] = 0
        >>> net.parameters.any()
        np.True_
        """
        net = self._like(self._parameters, self._sizes, self._activations, self._objective, self.dtype)
        net.feature_names, net.target_names, net.trained = self.feature_names, self.target_names, self.trained
        return net

    def __repr__(self):
        parts = [str(self.sizes)]
        if set(self._activations) - {"relu"}:
            same = len(set(self._activations)) == 1
            parts.append(f"activation={(self._activations[0] if same else self._activations)!r}")
        if self._objective != objectives.SquaredError():
            parts.append(f"objective={self._objective}")
        return f"MLP({', '.join(parts)}, dtype='{self.dtype}')"

    def __getstate__(self):
        kept = [name for name in MLP.__slots__ if name not in ("_compiled", "__weakref__")]
        return {name: getattr(self, name) for name in kept} | getattr(self, "__dict__", {})

    def __setstate__(self, state):
        for name, value in state.items():
            setattr(self, name, value)
        self._compiled = {}

    def _network(self, columns=1):
        """The kernels' form of the network, for targets of so many columns; made once."""
        selection, network = self._compiled.get(columns, (None, None))
        if selection is not kernels._selection:
            if network is not None:  # code in C may still refer to it (fastmlp.capi)
                self._compiled.setdefault("before", []).append(network)
            network = kernels.compiled(self._sizes, self._activations, self.dtype, self._objective, columns)
            self._compiled[columns] = kernels._selection, network
        return network

    @property
    def sizes(self) -> tuple[int, ...]:
        """(features, hidden units of each layer, outputs)."""
        return self._sizes

    @property
    def activations(self) -> tuple[str, ...]:
        """The name of each hidden layer's activation."""
        return self._activations

    @property
    def objective(self) -> Objective:
        """What training minimises, with the link of the predictions."""
        return self._objective

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
        """The names of the columns of y; where y may be one column for several outputs, of it or of these."""
        return self._target_names

    @target_names.setter
    def target_names(self, names: Iterable[str] | None) -> None:
        columns = {self._objective.target_columns(self._sizes[-1], given) for given in (1, self._sizes[-1])}
        self._target_names = _checks.names("target_names", names, *sorted(columns))

    @property
    def trained(self) -> bool:
        """Whether the weights are those of a fit or a file."""
        return self._trained

    @trained.setter
    def trained(self, value: bool) -> None:
        self._trained = bool(value)

    @property
    def weights(self) -> tuple[np.ndarray, ...]:
        """(W_1, …, W_L): views into `parameters`, (s_{l-1} + 1, s_l); the last row is the bias."""
        return kernels.split_parameters(self._parameters, self._sizes)

    def predict(self, X: ArrayLike, raw: bool = False, n_threads: int | None = None) -> np.ndarray:
        """Return the predictions for the rows of X.

        Parameters
        ----------
        X : (n, d) array_like or frame
            Converted to the network's dtype where it has another. NaN in a row gives NaN. The columns of a
            frame (pandas, polars, Arrow) are put in the order of `feature_names`.
        raw : bool
            Return the raw outputs, without the objective's link: those of log_loss before softmax.
        n_threads : int, optional
            At most so many threads: as many are used as pay, and no more than there are processors for
            this process. None means ``FASTMLP_NUM_THREADS``, or 1. The result has the same bits for
            every number.

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
        # without the calls of kernels.threads and _network, which cost 70 of the 450 ns of a row of 8-16-1
        threads = kernels._default_threads if n_threads is None else kernels.threads(n_threads)
        selection, network = self._compiled.get(1, (None, None))
        if selection is not kernels._selection:
            network = self._network()
        predictions = network.predict(X, self._parameters, raw, threads)
        if predictions is None:
            X, _ = _checks.ordered("X", X, self.feature_names)
            X = _checks.matrix("X", X, self.dtype, columns=self._sizes[0])
            predictions = network.predict(np.asarray(X), self._parameters, raw, threads)
        return predictions

    def loss(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the loss, a float; parameters as in `loss_and_gradients`.

        Examples
        --------
        >>> net = MLP((1, 1, 1), dtype="float64")
        >>> net.parameters[:] = 1
        >>> net.loss([[2.0], [-5.0]], [4.0, 3.0])
        2.0
        """
        X, Y, w = self._data(X, y, sample_weight)
        network = self._network(Y.shape[1])
        return network.loss_and_gradients(X, Y, w, self._parameters, None, kernels.threads())

    def loss_and_gradients(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, tuple[np.ndarray, ...]]:
        """Return the loss of the objective and its derivatives.

        Parameters
        ----------
        X : (n, d) array_like
        y : (n, m) array_like; for one target also (n,)
            As the objective takes it: for log_loss (n,) integers 0 … m-1, or (n, m) probabilities.
        sample_weight : (n,) array_like, optional
            Weights >= 0, finite, not all zero.

        Returns
        -------
        loss : float
            sum_k w_k loss_k / sum_k w_k, with the losses of the rows as in `fastmlp.objectives`.
        gradients : (dW_1, …, dW_L)
            New arrays of the shapes of `weights`.

        Raises
        ------
        TypeError, ValueError
            An argument is not an array of real numbers, of the wrong shape, or no target of the objective.

        Examples
        --------
        >>> net = MLP((1, 1, 1), dtype="float64")
        >>> net.parameters[:] = 1
        >>> loss, (dW1, dW2) = net.loss_and_gradients([[2.0]], [1.0])
        >>> loss, dW1.ravel(), dW2.ravel()
        (9.0, array([12.,  6.]), array([18.,  6.]))
        """
        X, Y, w = self._data(X, y, sample_weight)
        gradient = np.empty_like(self._parameters)
        network = self._network(Y.shape[1])
        loss = network.loss_and_gradients(X, Y, w, self._parameters, gradient, kernels.threads())
        return loss, kernels.split_parameters(gradient, self._sizes)

    def _data(self, X, y, sample_weight) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        X, _ = _checks.ordered("X", X, self.feature_names)
        y, _ = _checks.ordered("y", y, self.target_names)
        return _checks.data(X, y, sample_weight, self.dtype, self._sizes[0], self._sizes[-1], self._objective)

    def save(self, path: Path) -> None:
        """Write the network to a safetensors file, whole or not at all.

        The tensors have the names and shapes of the state dict of PyTorch's
        ``Sequential(Linear(d, h), ReLU(), Linear(h, m))`` (or as many layers as there are: "0.weight",
        "0.bias", "2.weight", …); sizes, activations, objective, dtype and format version are in the metadata.
        An existing file is replaced in one step, after the new one is on disk. Such a module takes the
        weights by ``module.load_state_dict(safetensors.torch.load_file(path))``.

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
        from fastmlp.io import model_file  # here: a process that only trains need not load it (1.2 ms)

        model_file.save(self, path)

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
        from fastmlp.io import model_file  # here, as in `save`

        return model_file.load(cls, path)

    def to_c(self, path: Path, name: str = "network") -> None:
        """Write the network as one C99 file without dependencies, whole or not at all.

        It defines ``void NAME_predict(const float *x, float *y)`` for one row (with ``double`` for a float64
        network), and ``NAME_predict_rows(x, y, n)`` for n rows, one after the other. Its outputs are those of
        `predict`, with the objective's link. The weights are the same to the bit; predictions agree to
        rounding.

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
        from fastmlp.io import c_source  # here, as in `save`

        c_source.write(self, path, name)

    def to_onnx(self, path: Path) -> None:
        """Write the network as an ONNX model (extra ``onnx``), whole or not at all.

        Its input is ``X`` (rows, d) and its output ``prediction`` (rows, m), of the network's dtype, with the
        objective's link; names of features and targets are in its metadata as JSON.

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
        from fastmlp.io import onnx  # here, as in `save`

        onnx.write(self, path)

    def to_torch(self) -> torch.nn.Sequential:
        """Return a PyTorch module of the raw outputs, with copies of the weights.

        It is ``Sequential(Linear, activation, Linear, …)``; identity layers are ``nn.Identity``.

        Raises
        ------
        ImportError
            PyTorch (extra ``torch``) is not installed.
        """
        from fastmlp.io import torch  # here, as in `save`

        return torch.module(self)

    @classmethod
    def from_torch(cls, module: torch.nn.Sequential, objective: str | Objective = "squared_error") -> Self:
        """Return a network with copies of the weights of a PyTorch module.

        Parameters
        ----------
        module : torch.nn.Sequential
            Of Linear layers with an activation (or none, which is the identity) between each two, all float32
            or all float64, on any device; a layer without bias gets one of 0.
        objective : str or object of `fastmlp.objectives`
            A module does not say what it was trained for.

        Raises
        ------
        ImportError
            PyTorch (extra ``torch``) is not installed.
        TypeError, ValueError
            `module` is something else.
        """
        from fastmlp.io import torch  # here, as in `save`

        return torch.network(cls, module, objective)
